"""Give the relation of each known MIL op; see :mod:`ane_rms.rescaling.relations`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ane_rms import mil
from ane_rms.rescaling.relations import Factor, Relation, Slot, is_compressed, is_constant, slots

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ane_rms.mil import Op, Var


def relation(op: Op) -> Relation:
    """Return the relation of ``op``; all floats of an unknown op are fixed."""
    outputs = tuple(var for var in op.outputs if mil.is_float(var))
    make = RELATIONS.get(op.op_type)
    found = None if make is None or op.blocks else make(op, outputs)
    return _unknown(op, outputs) if found is None else found


RELATIONS: dict[str, Callable[[Op, tuple[Var, ...]], Relation | None]] = {}
"""Relations by op type. A function returns None for inputs with which the op counts as unknown."""


def _rule(*op_types: str) -> Callable[[Callable[..., Relation | None]], Callable[..., Relation | None]]:
    def register(make: Callable[..., Relation | None]) -> Callable[..., Relation | None]:
        for op_type in op_types:
            if op_type in RELATIONS:
                raise ValueError(f"the exponents of {op_type!r} are related already")
            RELATIONS[op_type] = make
        return make

    return register


def _unknown(op: Op, outputs: tuple[Var, ...]) -> Relation:
    return Relation(outputs, fixed=tuple(slot for slot in slots(op) if not is_constant(slot.of(op))))


def _equal(op: Op, outputs: tuple[Var, ...], names: Iterable[str] | None = None) -> Relation:
    given = list(slots(op, names))
    alone = tuple(slot for slot in given if not is_constant(slot.of(op)))
    return Relation(outputs, equal=alone, offsets=tuple(slot for slot in given if is_constant(slot.of(op))))


@_rule(
    "abs", "batch_to_space", "cumsum", "depth_to_space", "expand_dims", "flatten2d", "identity", "max_pool",
    "pixel_shuffle", "pixel_unshuffle", "reduce_l1_norm", "reduce_l2_norm", "reduce_max", "reduce_mean", "reduce_min",
    "reduce_sum", "relu", "reshape", "reshape_like", "reverse", "reverse_sequence", "slice_by_index", "slice_by_size",
    "sliding_windows", "space_to_batch", "space_to_depth", "split", "squeeze", "tile", "topk", "transpose",
    "upsample_nearest_neighbor",
)  # fmt: skip
def _follows_x(op: Op, outputs: tuple[Var, ...]) -> Relation:
    return _equal(op, outputs, ("x",))


@_rule("leaky_relu", "prelu")
def _slope(op: Op, outputs: tuple[Var, ...]) -> Relation:
    return _equal(op, outputs, ("x",))


@_rule("cast")
def _cast(op: Op, outputs: tuple[Var, ...]) -> Relation | None:
    return _equal(op, outputs, ("x",)) if outputs and mil.is_float(op.x) else None


@_rule("add", "sub", "maximum", "minimum", "concat", "stack", "clip")
def _all_alike(op: Op, outputs: tuple[Var, ...]) -> Relation:
    return _equal(op, outputs)


@_rule("select")
def _select(op: Op, outputs: tuple[Var, ...]) -> Relation:
    return _equal(op, outputs, ("a", "b"))


@_rule("pad")
def _pad(op: Op, outputs: tuple[Var, ...]) -> Relation:
    return _equal(op, outputs, ("x", "constant_val"))


@_rule("slice_update")
def _slice_update(op: Op, outputs: tuple[Var, ...]) -> Relation:
    return _equal(op, outputs, ("x", "update"))


@_rule("scatter", "scatter_nd", "scatter_along_axis")
def _scatter(op: Op, outputs: tuple[Var, ...]) -> Relation | None:
    known = op.mode is not None and op.mode.val in ("add", "sub", "update", "min", "max")
    return _equal(op, outputs, ("data", "updates")) if known else None


@_rule("equal", "not_equal", "greater", "greater_equal", "less", "less_equal")
def _compare(op: Op, outputs: tuple[Var, ...]) -> Relation:
    return _equal(op, outputs, ("x", "y"))


@_rule("shape", "reduce_argmax", "reduce_argmin", "argsort")
def _forget(_op: Op, outputs: tuple[Var, ...]) -> Relation:
    return Relation(outputs)


@_rule("gather", "gather_nd", "gather_along_axis")
def _gather(op: Op, outputs: tuple[Var, ...]) -> Relation:
    if outputs and is_constant(op.x):
        return Relation(outputs, multiplier=Factor(Slot("x")))
    if is_compressed(op.x):
        return Relation(outputs)
    return _equal(op, outputs, ("x",))


def _product(op: Op, outputs: tuple[Var, ...], factors: Iterable[Factor], offsets: Iterable[str] = ()) -> Relation:
    """Return the relation of a product, whose constant, if it has one, is the multiplier."""
    alone, multiplier = [], None
    for factor in factors:
        var = factor.slot.of(op)
        if is_constant(var):
            multiplier = factor
        elif not is_compressed(var):
            alone.append(factor)
    constants = tuple(slots(op, offsets))
    if any(not is_constant(slot.of(op)) for slot in constants):
        return _unknown(op, outputs)
    return Relation(outputs, factors=tuple(alone), multiplier=multiplier, offsets=constants)


@_rule("mul", "matmul")
def _two_factors(op: Op, outputs: tuple[Var, ...]) -> Relation | None:
    if not outputs:
        return None
    if op.x is op.y and not is_constant(op.x):
        return Relation(outputs, factors=(Factor(Slot("x")), Factor(Slot("y"))))
    return _product(op, outputs, (Factor(Slot("x")), Factor(Slot("y"))))


@_rule("real_div")
def _quotient(op: Op, outputs: tuple[Var, ...]) -> Relation | None:
    return _product(op, outputs, (Factor(Slot("x")), Factor(Slot("y"), -1))) if outputs else None


@_rule("linear", "conv", "conv_transpose")
def _weighted(op: Op, outputs: tuple[Var, ...]) -> Relation:
    return _product(op, outputs, (Factor(Slot("x")), Factor(Slot("weight"))), ("bias",))


@_rule("einsum")
def _einsum(op: Op, outputs: tuple[Var, ...]) -> Relation | None:
    given = op.inputs["values"]
    return _product(op, outputs, [Factor(Slot("values", index)) for index in range(len(given))])


@_rule("scaled_dot_product_attention")
def _attention(op: Op, outputs: tuple[Var, ...]) -> Relation:
    others = [slot for slot in slots(op, ("query", "key", "attn_mask")) if not is_constant(slot.of(op))]
    if is_constant(op.value):
        return Relation(outputs, multiplier=Factor(Slot("value")), fixed=tuple(others))
    return Relation(outputs, factors=(Factor(Slot("value")),), fixed=tuple(others))


@_rule("ane_rms_norm", "layer_norm", "instance_norm", "l2_norm")
def _norm(op: Op, outputs: tuple[Var, ...]) -> Relation:
    """Return the relation of a norm: independent of x's exponent if epsilon takes twice that; gamma may take any."""
    inputs = op.inputs
    gain = Factor(Slot("gamma")) if inputs.get("gamma") is not None else None
    if gain is not None and not is_constant(inputs["gamma"]):
        return _unknown(op, outputs)
    offsets = tuple(slots(op, ("beta",)))
    if any(not is_constant(slot.of(op)) for slot in offsets):
        return _unknown(op, outputs)
    return Relation(outputs, multiplier=gain, offsets=offsets, within=((Slot("epsilon"), Factor(Slot("x"), 2)),))


@_rule("square", "sqrt")
def _power(op: Op, outputs: tuple[Var, ...]) -> Relation:
    return Relation(outputs, factors=(Factor(Slot("x"), 2 if op.op_type == "square" else 0.5),))


@_rule("rsqrt", "inverse")
def _reciprocal(op: Op, outputs: tuple[Var, ...]) -> Relation:
    factor = Factor(Slot("x"), -0.5 if op.op_type == "rsqrt" else -1)
    return Relation(outputs, factors=(factor,), within=((Slot("epsilon"), Factor(Slot("x"))),))


@_rule("pow")
def _pow(op: Op, outputs: tuple[Var, ...]) -> Relation | None:
    power = None if op.y.val is None else mil.scalar(op.y)
    return None if power is None or op.x.val is not None else Relation(outputs, factors=(Factor(Slot("x"), power),))
