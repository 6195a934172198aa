"""Whether a family takes an op, and why not: the op itself, its types, ranks, extents, modes, shapes and states.

Sources: G's appendix A for the op, its chapters 4 and 17 for the rest; coremltools issue 1909 for EnumeratedShapes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from harness.interpreter.program import Constant, Ref

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from harness.engine.families import EngineData, Family
    from harness.interpreter.program import Argument, Function, Op, ValueType

FLOAT = "fp16"
NARROW = ("bool", "int8", "uint8", "int4", "uint4")
"""Types that values beside float16 may have: results of comparisons, and quantized activations."""

STATEFUL = ("read_state", "coreml_update_state", "write_state")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The context that an op's verdict needs.

    Parameters
    ----------
    types: declared type by value name.
    enumerated: whether an input of the function has enumerated shapes.
    """

    types: Mapping[str, ValueType] = field(default_factory=dict)
    enumerated: bool = False

    @classmethod
    def of(cls, function: Function) -> Surroundings:
        """Return those of a function, its inputs and states included."""
        from harness.interpreter.program import walk

        types = {item.value.name: item.value.type for item in function.inputs}
        types |= {value.name: value.type for value in function.states}
        for op in walk(function.body):
            types |= {value.name: value.type for value in op.outputs}
            for block in op.blocks:
                types |= {value.name: value.type for value in block.inputs}
        enumerated = any(item.flexible is not None and item.flexible.enumerated for item in function.inputs)
        return cls(types, enumerated)


@dataclass(frozen=True, slots=True)
class Reason:
    """The reason why an op leaves the engine; ``certain`` is False if it only may."""

    text: str
    certain: bool = True


def items(argument: Argument) -> tuple[Ref | Constant, ...]:
    """Return the values of an argument."""
    return argument if isinstance(argument, tuple) else (argument,)


def value_types(op: Op, types: Mapping[str, ValueType]) -> list[ValueType]:
    """Return the types of the values an op reads at run time, then of those it writes."""
    read = [
        types[item.name]
        for argument in op.inputs.values()
        for item in items(argument)
        if isinstance(item, Ref) and item.name in types
    ]
    return [*read, *(value.type for value in op.outputs)]


def reasons(op: Op, family: Family, data: EngineData, around: Surroundings) -> list[Reason]:
    """Return every reason for which an op leaves the engine of a family, or may; none if it stays."""
    support = data.support.ops.get(op.op_type)
    if support is None:
        return [Reason("the published matrix of ops does not name it", certain=False)]
    found = []
    if not data.reaches(family, support.since):
        arrives = f"arrives with {support.since}" if support.since else "has no path on any family"
        found.append(Reason(f"the op {arrives}"))
    elif not support.placed:
        found.append(Reason("Core ML's placement model has no cost for it on the engine"))
    found += _of_types(op, around.types)
    found += _of_shapes(op, family, around.types)
    found += _of_modes(op, family, data, around.types)
    if op.op_type in STATEFUL:
        found.append(Reason("a native state may leave the engine", certain=False))
    if op.op_type == "layer_norm" and around.enumerated:
        found.append(Reason("a layer_norm in a model with EnumeratedShapes leaves the engine"))
    return found


def _of_types(op: Op, types: Mapping[str, ValueType]) -> Iterator[Reason]:
    names = {one.dtype.name for one in value_types(op, types)}
    if op.op_type == "cast":
        names -= {"fp32"}  # to and from the float32 inputs and outputs of a program
    for name in sorted(names - {FLOAT, *NARROW}):
        yield Reason(f"a value of type {name}: the engine computes in float16 alone")


def _of_shapes(op: Op, family: Family, types: Mapping[str, ValueType]) -> Iterator[Reason]:
    limits = family.limits
    shapes = [one.shape for one in value_types(op, types)]
    if any(shape is None or None in shape for shape in shapes):
        yield Reason("a flexible shape may leave the engine", certain=False)
    known = [tuple(n or 1 for n in shape) for shape in shapes if shape is not None]
    rank = max((len(shape) for shape in known), default=0)
    if rank > limits.rank.number:
        yield Reason(f"rank {rank}, above {limits.rank.number:.0f}")
    elif rank == 5 and op.op_type in ("linear", "matmul", "conv", "conv_transpose"):
        yield Reason(f"{op.op_type} of rank 5")
    for shape in known:
        for place, size in enumerate(shape):
            channel = len(shape) >= 3 and place == len(shape) - 3
            limit = (limits.channels if channel else limits.extent).number
            if size > limit:
                yield Reason(f"an axis of {size:,} elements, above {limit:,.0f}")
                return


def _of_modes(op: Op, family: Family, data: EngineData, types: Mapping[str, ValueType]) -> Iterator[Reason]:
    limits = family.limits
    if op.op_type in ("conv", "conv_transpose"):
        weight = op.inputs.get("weight")
        if isinstance(weight, Constant) and isinstance(weight.value, torch.Tensor):
            width = weight.value.shape[-1]
            if width > limits.kernel_width.number:
                yield Reason(f"a kernel {width} wide, above {limits.kernel_width.number:.0f}")
        elif (shape := _shape(op.inputs["x"], types)) and (shape[0] or 2) > 1:
            yield Reason("a convolution whose weight is computed, with a batch above 1")
    if op.op_type == "pad":
        mode = op.inputs.get("mode")
        if isinstance(mode, Constant) and mode.value != "constant" and not data.reaches(family, "A14"):
            yield Reason(f"padding mode {mode.value}, which arrives with A14")
    if op.op_type in ("reduce_argmax", "reduce_argmin") and (shape := _shape(op.inputs["x"], types)):
        axis = op.inputs.get("axis")
        place = int(axis.value) if isinstance(axis, Constant) and isinstance(axis.value, torch.Tensor) else -1
        if (shape[place] or 0) > limits.arg_axis.number:
            yield Reason(f"an axis of {shape[place]:,} elements under an arg-max, above {limits.arg_axis.number:,.0f}")
    if op.op_type == "layer_norm":
        yield from _of_affine(op, family, types)


def _of_affine(op: Op, family: Family, types: Mapping[str, ValueType]) -> Iterator[Reason]:
    varying = [name for name in ("gamma", "beta") if varies(op.inputs.get(name))]
    shape = _shape(op.inputs["x"], types)
    if not varying or not shape:
        return
    limits = family.limits
    limit = (limits.one_affine_width if len(varying) == 1 else limits.two_affine_width).number
    width = shape[-1] or 0
    if width >= limit:
        which = " and ".join(varying)
        yield Reason(f"a layer_norm of width {width:,} whose {which} varies is reported not to compile", certain=False)


def varies(argument: Argument | None) -> bool:
    """Return whether an argument's elements may differ; True for a value known only at run time."""
    if argument is None:
        return False
    if isinstance(argument, Constant) and isinstance(argument.value, torch.Tensor):
        flat = argument.value.reshape(-1)
        return bool(flat.numel() > 1 and (flat != flat[0]).any())
    return True


def _shape(argument: Argument, types: Mapping[str, ValueType]) -> tuple[int | None, ...] | None:
    if isinstance(argument, Ref):
        found = types.get(argument.name)
        return None if found is None else found.shape
    if isinstance(argument, Constant):
        return argument.type.shape
    return None
