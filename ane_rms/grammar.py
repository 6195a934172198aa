r"""The algebra of RMSNorm: recognise it in a MIL graph, or say why not.

.. math::  y = \gamma \cdot x \cdot \big(\tfrac1d \textstyle\sum x^2 + \epsilon\big)^{-1/2}

Four productions compose; each returns a match, a :class:`Refusal` (nearly, but), or None (something else altogether).

``quadratic``   a mean or sum of squares, times a number, plus a number:  ``a * sum(x^2) + e``
``root``        its square root or the inverse of that, times a number, plus a number, floored by a number
``product``     a tree of ``mul``, ``real_div`` and ``cast``, flattened: constants, and factors to the power of 1 or -1
``rms_norm``    a product of x, the inverse root of x's own quadratic, and constants, which make gamma; where no part of
                a product is a norm by itself, also one that other values multiply or divide (:func:`rms_norm_within`)

Scales are carried exactly, so that ``x * sqrt(d) / norm(x)``, ``x / (norm(x) * d**-0.5)``, a sum divided by d and a
mean are one thing. Casts between float types are looked through. Two values are the same when they are the same
variable before such casts.

What is not exactly an RMSNorm carries a bound of the relative deviation for rows whose RMS is at least
:data:`RMS_FLOOR`, and is refused when that bound exceeds :data:`DEVIATION_LIMIT`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ane_rms import mil

if TYPE_CHECKING:
    from collections.abc import Collection

    import numpy.typing as npt

RMS_FLOOR = 1e-2
"""Deviation bounds hold for rows whose RMS is at least this: embeddings of published models stand at about 0.02."""

DEVIATION_LIMIT = 2e-3
"""Twice the spacing of float16 at 1 (2**-10): a fused form may deviate by no more, relative to the value written."""

SMALLEST_FP16 = 2.0**-24
"""The smallest positive float16: a smaller epsilon becomes this one in a float16 program."""

SCALE_TOLERANCE = 2.0**-11
"""float16's unit roundoff: a factor sqrt(d) that was stored in float16 is off by no more."""

SCALE_EXACT = 1e-6
"""float32's rounding of d and sqrt(d): no deviation worth stating."""

NO_FIXED_SIZE = "the normalised axis has no fixed size: convert with one, other axes may stay flexible"

RSQRT_GUARD = 1e-12
INVERSE_GUARD = 1e-4
"""What coremltools adds by itself under ``rsqrt`` and to the argument of ``inverse``. Torch's own ops have no such
term: the first is kept only where the user wrote no epsilon, the second is taken as not written."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Nearly an RMSNorm, but: ``reason`` is a sentence, ``op`` the root it is about."""

    reason: str
    op: mil.Op | None = None
    is_layer_norm: bool = False


@dataclass(frozen=True, slots=True)
class Quadratic:
    """``scale * sum(x^2 over axes) + epsilon``, at least ``floor``; ``kept`` if the summed axes stay as 1."""

    x: mil.Var
    axes: tuple[int, ...]
    scale: float
    kept: bool
    spelling: str
    epsilon: float = 0.0
    floor: float = 0.0


@dataclass(frozen=True, slots=True)
class Root:
    """``number * (scale * sqrt(quadratic) + outside)^power``, the base at least ``floor``; ``op`` takes the root."""

    quadratic: Quadratic
    op: mil.Op
    power: int
    spelling: str
    scale: float = 1.0
    outside: float = 0.0
    floor: float = 0.0
    number: float = 1.0


@dataclass(slots=True)
class Product:
    """A flattened product. ``ops`` are the multiplications and casts it is made of."""

    constants: list[tuple[npt.NDArray[np.float64], int]] = field(default_factory=list)
    factors: list[tuple[mil.Var, int]] = field(default_factory=list)
    ops: list[mil.Op] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class RmsNorm:
    """One RMSNorm: ``op`` computes its result from ``x``.

    ``axes`` count from the back, ascending. ``gamma`` is float64 of x's shape over them, or None; ``after`` a constant
    that varies along other axes and stays a multiplication, or None; ``others`` are values, to the power of 1 or -1,
    that multiply the norm. ``root`` takes the root, ``interior`` multiplies.
    """

    op: mil.Op
    x: mil.Var
    axes: tuple[int, ...]
    gamma: npt.NDArray[np.float64] | None
    after: npt.NDArray[np.float64] | None
    epsilon: float
    spelling: str
    deviation_bound: float
    root: mil.Op
    interior: tuple[mil.Op, ...]
    others: tuple[tuple[mil.Var, int], ...] = ()


def same(a: mil.Var, b: mil.Var) -> bool:
    """Return whether two variables are one value, but for casts between float types."""
    return mil.base(a) is mil.base(b)


def _constant_operand(op: mil.Op) -> tuple[mil.Var, float] | None:
    """Return (the other operand, the number) of a commutative op with one constant of one element."""
    for value, constant in ((op.x, op.y), (op.y, op.x)):
        number = mil.scalar(constant)
        if number is not None and mil.const_value(value) is None:
            return value, number
    return None


def _floored(op: mil.Op) -> tuple[mil.Var, float] | None:
    """Return (x, floor) where a ``clip`` bounds x from below alone, as ``clamp(min=...)`` does."""
    low, high = mil.scalar(op.alpha), mil.scalar(op.beta)
    largest = np.finfo(np.float16 if mil.dtype(op.x) == "fp16" else np.float32).max
    unbounded = high is not None and high >= largest
    return (op.x, low) if low is not None and unbounded else None


# --- quadratic ---------------------------------------------------------------------------------------------------


def squared(var: mil.Var) -> mil.Var | Refusal | None:
    """Return x where ``var`` is ``x^2``."""
    op = mil.producer(mil.base(var), "square", "mul", "pow")
    if op is None:
        return None
    if op.op_type == "square":
        found = op.x
    elif op.op_type == "mul":
        if not same(op.x, op.y):
            return Refusal("the mean is over a product of two different values, not over a square")
        found = op.x
    else:
        exponent = mil.scalar(op.y)
        if exponent != 2:
            power = "a power that is not constant" if exponent is None else f"x**{exponent:g}"
            return Refusal(f"the mean is over {power}, not over a square")
        found = op.x
    magnitude = mil.producer(mil.base(found), "abs")
    return found if magnitude is None else magnitude.x


def _reduction(op: mil.Op) -> Quadratic | Refusal | None:
    """Return the quadratic of a reduction op."""
    if op.op_type in ("reduce_sum_square", "reduce_l2_norm"):
        x = op.x
    else:
        x = squared(op.x)
        if isinstance(x, Refusal):
            return x
        if x is None:
            inner = mil.base(op.x).op
            what = "an input of the program" if inner is None else f"`{inner.op_type}`"
            return Refusal(f"the {op.op_type[7:]} is over {what}, not over a square")
    given = range(op.x.rank) if op.axes is None else np.atleast_1d(op.axes.val)
    axes = mil.positive_axes([int(axis) for axis in given], op.x.rank)
    spelling, scale = op.op_type.removeprefix("reduce_").removesuffix("_square"), 1.0
    if op.op_type == "reduce_mean":
        counts = [mil.shape(op.x)[axis] for axis in axes]
        if not all(isinstance(n, int) for n in counts):
            return Refusal(NO_FIXED_SIZE)
        scale = 1.0 / math.prod(int(n) for n in counts)
    return Quadratic(x=x, axes=axes, scale=scale, kept=bool(op.keep_dims.val), spelling=spelling)


def quadratic(var: mil.Var) -> Quadratic | Refusal | None:
    """Return the form ``a * sum(x^2) + e`` that ``var`` has."""
    op = mil.base(var).op
    if op is None:
        return None
    if op.op_type in ("reduce_mean", "reduce_sum", "reduce_sum_square"):
        return _reduction(op)
    if op.op_type in ("expand_dims", "reshape"):
        found: Quadratic | Refusal | None = _kept(quadratic(op.x), op)
        return found or _row_products(var)
    if op.op_type in ("squeeze", "matmul"):
        return _row_products(var)
    if op.op_type in ("square", "pow"):
        return _squared_root(op)
    if op.op_type in ("add", "maximum", "mul", "real_div", "sub", "clip"):
        return _arithmetic(op)
    return None


def _kept(found: Any, op: mil.Op) -> Any:
    """Let an op that puts back the reduced axes stand for ``keep_dims=True``, in a quadratic or a root."""
    inner = found.quadratic if isinstance(found, Root) else found
    if not isinstance(inner, Quadratic):
        return found
    expected = tuple(1 if axis in inner.axes else n for axis, n in enumerate(mil.shape(inner.x)))
    if mil.shape(op.outputs[0]) != expected:
        return found if op.op_type == "expand_dims" else None
    kept = replace(inner, kept=True)
    return replace(found, quadratic=kept) if isinstance(found, Root) else kept


def _row_products(var: mil.Var) -> Quadratic | None:
    """Return the sum of squares where each row of x is multiplied by itself as a matrix, as ``einsum`` is written.

    x's rows stand in ``(..., 1, d)`` and ``(..., d, 1)``, the products in x's shape with or without a last axis of 1.
    Only reshapes lie between, none of which changes the order of elements.
    """
    op = _unfolded(var).op
    if op is None or op.op_type != "matmul":
        return None
    x, left, right = _unfolded(op.x), list(mil.shape(op.x)), list(mil.shape(op.y))
    if x.rank == 0 or x is not _unfolded(op.y) or left[:-2] != right[:-2]:
        return None
    row = left[-1:-3:-1] if op.transpose_x.val else left[-2:]
    column = right[-1:-3:-1] if op.transpose_y.val else right[-2:]
    *lead, width = mil.shape(x)
    if row != [1, width] or column != [width, 1] or not all(isinstance(n, int) for n in (*lead, *left, *right)):
        return None
    kept = mil.shape(var) == (*lead, 1)
    if not kept and mil.shape(var) != tuple(lead):
        return None
    return Quadratic(x=x, axes=(x.rank - 1,), scale=1.0, kept=kept, spelling="matmul")


def _unfolded(var: mil.Var) -> mil.Var:
    """Return what ``var`` was before ops that only change how its elements are grouped into axes."""
    while (op := mil.producer(mil.base(var), "reshape", "expand_dims", "squeeze")) is not None:
        var = op.x
    return mil.base(var)


def _squared_root(op: mil.Op) -> Quadratic | None:
    """Return the quadratic of ``norm(x)^2``."""
    inner = root(op.x) if op.op_type == "square" or mil.scalar(op.y) == 2 else None
    if not isinstance(inner, Root) or inner.power != 1 or inner.outside or inner.floor or inner.quadratic.floor:
        return None
    q, factor = inner.quadratic, inner.scale**2
    return replace(q, scale=q.scale * factor, epsilon=q.epsilon * factor)


def _arithmetic(op: mil.Op) -> Quadratic | Refusal | None:
    """Return the quadratic of one plus, times, divided by or floored by a number."""
    if op.op_type == "clip":
        operand = _floored(op)
    elif op.op_type in ("real_div", "sub"):
        number = mil.scalar(op.y)
        operand = None if number is None else (op.x, number)
    else:
        operand = _constant_operand(op)
    if operand is None:
        return None if op.op_type == "clip" else _not_a_number(op)
    inner, number = operand
    q = quadratic(inner)
    if not isinstance(q, Quadratic):
        return q
    if op.op_type in ("add", "sub"):
        epsilon = q.epsilon + (number if op.op_type == "add" else -number)
        if not (math.isfinite(epsilon) and epsilon >= 0):
            return Refusal(f"epsilon is {epsilon:g}; it must be a finite number, 0 or more")
        return replace(q, epsilon=epsilon)
    if op.op_type in ("maximum", "clip"):
        return replace(q, floor=max(q.floor, number))
    factor = number if op.op_type == "mul" else (1 / number if number else math.nan)
    if not (math.isfinite(factor) and factor > 0):
        return Refusal(f"the mean square is scaled by {factor:g}; it must be a positive number")
    return replace(q, scale=q.scale * factor, epsilon=q.epsilon * factor, floor=q.floor * factor)


def _not_a_number(op: mil.Op) -> Refusal | None:
    """Say what is wrong with a mean square plus something that is not one number; None if there is no mean square."""
    for value, other in ((op.x, op.y), (op.y, op.x)):
        reduction = mil.producer(mil.base(value), "reduce_mean", "reduce_sum", "reduce_sum_square")
        if reduction is None or not isinstance(_reduction(reduction), Quadratic):
            continue
        known = mil.const_value(other)
        if op.op_type == "sub":
            return Refusal("something is subtracted from the mean square, as for a variance")
        what = "is computed at run time" if known is None else f"has shape {list(known.shape)}"
        return Refusal(f"what is added to the mean square (epsilon) {what}; it must be one constant number")
    return None


# --- root --------------------------------------------------------------------------------------------------------


def root(var: mil.Var) -> Root | Refusal | None:
    """Return the root form that ``var`` has."""
    op = mil.base(var).op
    if op is None:
        return None
    if op.op_type in ("sqrt", "rsqrt", "pow"):
        return _taken(op)
    if op.op_type == "reduce_l2_norm":
        q = _reduction(op)
        return Root(replace(q, spelling="l2_norm"), op, 1, "l2_norm") if isinstance(q, Quadratic) else q
    if op.op_type in ("expand_dims", "reshape"):
        found: Root | Refusal | None = _kept(root(op.x), op)
        return found
    if op.op_type == "tile":
        return _tiled(op)
    if op.op_type == "inverse":
        return _inverted(root(op.x), 1.0, guard=mil.scalar(op.epsilon) or 0.0)
    if op.op_type == "real_div" and (number := mil.scalar(op.x)) is not None:
        return _inverted(root(op.y), number)
    if op.op_type in ("add", "maximum", "mul", "real_div", "clip"):
        return _adjusted(op)
    return None


def _taken(op: mil.Op) -> Root | Refusal | None:
    """Return the root of a quadratic that ``sqrt``, ``rsqrt`` or ``pow`` takes."""
    exponent = {"sqrt": 0.5, "rsqrt": -0.5}.get(op.op_type) or mil.scalar(op.y)
    if exponent not in (0.5, -0.5):
        return None
    q = quadratic(op.x)
    if isinstance(q, Refusal):
        return replace(q, op=op)
    if q is None:
        return None
    if op.op_type == "rsqrt" and (guard := mil.scalar(op.epsilon)):
        written = q.epsilon > 0 or q.floor > 0
        default = math.isclose(guard, RSQRT_GUARD, rel_tol=1e-6) or mil.dtype(op.x) == "fp16"
        q = q if written and default and guard <= SMALLEST_FP16 else replace(q, epsilon=q.epsilon + guard)
    return Root(q, op, 1 if exponent > 0 else -1, f"{q.spelling}_{op.op_type}")


def _tiled(op: mil.Op) -> Root | Refusal | None:
    """Look through a ``tile`` that only spreads the reduced axes, as ``expand_as`` does."""
    found, reps = root(op.x), mil.const_value(op.reps)
    if not isinstance(found, Root) or reps is None:
        return found if isinstance(found, Refusal) else None
    spread = all(n == 1 or axis in found.quadratic.axes for axis, n in enumerate(np.atleast_1d(reps)))
    return found if spread else None


def _inverted(found: Root | Refusal | None, number: float, guard: float = 0.0) -> Root | Refusal | None:
    """Return ``number / (found + guard)``."""
    if not isinstance(found, Root):
        return found
    if found.power != 1 or number <= 0:
        return Refusal("an inverse of the inverse root, or a negative one", found.op)
    written = guard > SMALLEST_FP16 and not math.isclose(guard, INVERSE_GUARD, rel_tol=1e-2)
    outside = found.outside + (guard if written else 0.0)
    return replace(found, power=-1, number=number, outside=outside, spelling=f"{found.spelling}_inverse")


def _adjusted(op: mil.Op) -> Root | Refusal | None:
    """Return a root plus, times, divided by or floored by a number."""
    if op.op_type == "real_div":
        divisor = mil.scalar(op.y)
        operand = None if not divisor else (op.x, 1 / divisor)
    else:
        operand = _floored(op) if op.op_type == "clip" else _constant_operand(op)
    if operand is None:
        return None
    inner, number = operand
    found = root(inner)
    if not isinstance(found, Root):
        return found
    if number < 0 or not math.isfinite(number):
        return Refusal(f"the root is combined with {number:g}; it must be a finite number, 0 or more", found.op)
    if op.op_type in ("mul", "real_div"):
        return _scaled(found, number)
    if found.power != 1:
        return Refusal("something is added to the inverse root", found.op)
    if op.op_type == "add":
        return replace(found, outside=found.outside + number)
    return replace(found, floor=max(found.floor, number))


def _scaled(found: Root, number: float) -> Root:
    """Return ``number * found``."""
    if found.power == -1:
        return replace(found, number=found.number * number)
    return replace(found, scale=found.scale * number, outside=found.outside * number, floor=found.floor * number)


# --- product and the whole ---------------------------------------------------------------------------------------


def product(op: mil.Op, stop: Collection[int] = ()) -> Product:
    """Flatten the product that ends in ``op``, through intermediates that nothing else uses.

    Parameters
    ----------
    op: the last multiplication or division.
    stop: ids of ops that are not looked into.
    """
    result = Product()

    def visit(var: mil.Var, power: int, *, last: bool) -> None:
        constant = mil.floats(var)
        if constant is not None:
            result.constants.append((constant, power))
            return
        inner = mil.producer(var, "mul", "real_div", "cast")
        if inner is None or _opaque(inner) or id(inner) in stop or not (last or mil.is_interior(var)):
            result.factors.append((var, power))
            return
        result.ops.append(inner)
        visit(inner.x, power, last=False)
        if inner.op_type != "cast":
            visit(inner.y, power if inner.op_type == "mul" else -power, last=False)

    visit(op.outputs[0], 1, last=True)
    return result


def _opaque(op: mil.Op) -> bool:
    """Return whether ``op`` is a cast that changes more than rounding."""
    return bool(op.op_type == "cast" and not mil.is_float(op.x))


def rms_norm(op: mil.Op, *, any_axes: bool = False) -> RmsNorm | Refusal | None:
    """Return the RMSNorm whose last multiplication or division is ``op``.

    Parameters
    ----------
    op: a ``mul`` or ``real_div``.
    any_axes: whether trailing axes and single inner axes are recognised as well as the last one.
    """
    flat = product(op)
    refusal: Refusal | None = None
    for at, (var, power) in enumerate(flat.factors):
        found = root(var)
        if isinstance(found, Root) and found.power * power == -1:
            result = _whole(op, flat, found, at, any_axes=any_axes, within=False)
            if isinstance(result, RmsNorm):
                return result
            refusal = replace(result, op=found.op)
        elif isinstance(found, Refusal):
            refusal = refusal or found
    return refusal


def rms_norm_within(
    op: mil.Op, taken: Collection[int], roots: Collection[int], *, any_axes: bool = False
) -> RmsNorm | None:
    """Return the RMSNorm in the product that ends in ``op``, whatever else multiplies or divides it.

    For products that have no norm as a part: a gate between x and the inverse root, a gamma computed at run time, or
    one that varies along other axes, multiplied to the inverse root first.

    Parameters
    ----------
    op: a ``mul`` or ``real_div``.
    taken: ids of the ops that compute norms; they are not looked into.
    roots: ids of the root ops that belong to them.
    any_axes: whether trailing axes and single inner axes are recognised as well as the last one.
    """
    flat = product(op, taken)
    for at, (var, power) in enumerate(flat.factors):
        found = root(var)
        if isinstance(found, Root) and found.power * power == -1 and id(found.op) not in roots:
            result = _whole(op, flat, found, at, any_axes=any_axes, within=True)
            if isinstance(result, RmsNorm):
                return result
    return None


def _whole(op: mil.Op, flat: Product, found: Root, at: int, *, any_axes: bool, within: bool) -> RmsNorm | Refusal:
    """Check the parts of a product around one inverse root, its factor ``at``, against each other."""
    found, rest, unscaled = _unscaled(found, flat.factors[:at] + flat.factors[at + 1 :])
    q, x = found.quadratic, found.quadratic.x
    others = _others(x, rest) if within else ()
    refusal = _refuse_factors(x, rest, others) or _refuse_axes(q, any_axes=any_axes) or _refuse_shape(op, x)
    if refusal is not None:
        return refusal
    sizes = {axis: int(x.shape[axis]) for axis in q.axes}
    scale, epsilon, bound = _normalised(found, math.prod(sizes.values()))
    if bound > DEVIATION_LIMIT:
        return Refusal(
            f"not exactly an RMSNorm: deviates by up to {bound:.2g} for rows whose RMS is {RMS_FLOOR:g} or more, "
            f"above the limit of {DEVIATION_LIMIT:g}: add epsilon to the mean square, under the root"
        )
    scaling = _scaling(flat, scale, x.rank, sizes, within=within)
    if isinstance(scaling, Refusal):
        return scaling
    tail = ("mul" if found.power == -1 else "div") + ("_epsilon_outside" if found.outside else "")
    return RmsNorm(
        op=op,
        x=x,
        axes=tuple(mil.signed_axis(axis, x.rank) for axis in q.axes),
        gamma=scaling.gamma,
        after=scaling.after,
        epsilon=epsilon,
        spelling=f"{unscaled}{found.spelling}_{tail}",
        deviation_bound=bound + scaling.drift,
        root=found.op,
        interior=tuple(flat.ops),
        others=others,
    )


def _unscaled(found: Root, rest: list[tuple[mil.Var, int]]) -> tuple[Root, list[tuple[mil.Var, int]], str]:
    """Let the quadratic speak of x itself where it speaks of x times a number, or of x over its largest magnitude.

    coremltools writes ``torch.nn.RMSNorm`` as ``x / (m * sqrt(mean((x/m)^2) + e))`` with m the largest magnitude.
    Its epsilon then acts as ``e * m^2``; ``e`` is what the user wrote, and what is fused (coremltools issue 2821).
    """
    q = found.quadratic
    if any(same(var, q.x) for var, _ in rest):
        return found, rest, ""
    inner = mil.producer(mil.base(q.x), "real_div", "mul")
    if inner is None:
        return found, rest, ""
    operand = _constant_operand(inner) if inner.op_type == "mul" else _divided(inner)
    if operand is not None and operand[1] > 0:
        x, number = operand
        return replace(found, quadratic=replace(q, x=x, scale=q.scale * number**2)), rest, ""
    undone = [factor for factor in rest if not (factor[1] == -1 and same(factor[0], inner.y))]
    if inner.op_type == "mul" or len(undone) == len(rest) or not _is_largest_magnitude(inner.y, inner.x, q.axes):
        return found, rest, ""
    return replace(found, quadratic=replace(q, x=inner.x)), undone, "max_abs_"


def _divided(op: mil.Op) -> tuple[mil.Var, float] | None:
    """Return (x, factor) where ``op`` divides x by a number."""
    divisor = mil.scalar(op.y)
    return (op.x, 1 / divisor) if divisor else None


def _is_largest_magnitude(var: mil.Var, x: mil.Var, axes: tuple[int, ...]) -> bool:
    """Return whether ``var`` is ``max(|x|)`` over ``axes``, which stay as 1."""
    reduction = mil.producer(mil.base(var), "reduce_max")
    if reduction is None or reduction.axes is None or not reduction.keep_dims.val:
        return False
    magnitude = mil.producer(mil.base(reduction.x), "abs")
    reduced = mil.positive_axes([int(axis) for axis in np.atleast_1d(reduction.axes.val)], reduction.x.rank)
    return magnitude is not None and same(magnitude.x, x) and reduced == axes


def _others(x: mil.Var, rest: list[tuple[mil.Var, int]]) -> tuple[tuple[mil.Var, int], ...]:
    """Return the factors without x itself, where it is one of them."""
    at = next((i for i, (var, power) in enumerate(rest) if power == 1 and same(var, x)), None)
    return () if at is None else tuple(rest[:at] + rest[at + 1 :])


def _refuse_factors(
    x: mil.Var, rest: list[tuple[mil.Var, int]], others: tuple[tuple[mil.Var, int], ...]
) -> Refusal | None:
    """Refuse unless the factors beside the inverse root are x, once, and ``others``."""
    if len(rest) == len(others) + 1 and any(power == 1 and same(var, x) for var, power in rest):
        if _centred_on(x) is not None:
            return Refusal("a LayerNorm: the mean is subtracted before", is_layer_norm=True)
        return None
    centre = _centred_on(x)
    if centre is not None:
        if any(same(var, centre) for var, _ in rest):
            return Refusal("the mean square is a variance: the mean is subtracted from x before it is squared")
        return Refusal("a variance scales something else", is_layer_norm=True)
    if any(same(var, x) and power == 1 for var, power in rest):
        return Refusal("the normalised value is multiplied by something that is not constant")
    return Refusal("what is scaled is not the value whose mean square is taken")


def _centred_on(x: mil.Var) -> mil.Var | None:
    """Return h where x is ``h - mean(h)``."""
    op = mil.producer(mil.base(x), "sub")
    if op is None:
        return None
    mean = mil.producer(mil.base(op.y), "reduce_mean")
    return op.x if mean is not None and same(mean.x, op.x) else None


def _refuse_axes(q: Quadratic, *, any_axes: bool) -> Refusal | None:
    """Refuse unless the last axis is reduced and kept; with ``any_axes``, trailing axes or any single one."""
    rank = q.x.rank
    last, trailing = q.axes == (rank - 1,), q.axes == tuple(range(rank - len(q.axes), rank))
    if not (last or (any_axes and (trailing or len(q.axes) == 1))):
        signed = [mil.signed_axis(axis, rank) for axis in q.axes]
        allowed = "trailing axes or a single one are" if any_axes else "the last axis is"
        mend = "" if any_axes or not (trailing or len(q.axes) == 1) else ": axes='any' fuses this one as well"
        return Refusal(f"the mean is over axes {signed} of rank {rank}; only {allowed} fused{mend}")
    if not q.kept and len(q.axes) < rank:
        return Refusal("the mean drops its axis, so that it scales along another one: take it with keepdim=True")
    if not all(isinstance(mil.shape(q.x)[axis], int) for axis in q.axes):
        return Refusal(NO_FIXED_SIZE)
    return None


def _refuse_shape(op: mil.Op, x: mil.Var) -> Refusal | None:
    """Refuse if a factor spreads the result over more than x's shape."""
    shape, expected = mil.shape(op.outputs[0]), mil.shape(x)
    return None if shape == expected else Refusal(f"the result has shape {list(shape)}, x has {list(expected)}")


def _normalised(found: Root, width: int) -> tuple[float, float, float]:
    """Return (scale, epsilon, deviation bound): the product is ``scale * x * (mean(x^2) + epsilon)^(-1/2)``.

    With t the factor from RMS to root, ``t * sqrt(mean + e0) + outside`` divides. An outside term delta = outside / t
    is met by epsilon = delta^2, which keeps the value at zero rows: off by at most delta / rms. A floor g on the RMS
    (``clamp_min``) leaves rows above it untouched: a tiny epsilon stands for it.
    """
    q = found.quadratic
    stretch = q.scale * width
    to_root = found.scale * math.sqrt(stretch)
    epsilon = q.epsilon / stretch
    delta = found.outside / to_root
    floor = max(found.floor / to_root, math.sqrt(max(q.floor, 0.0) / stretch))
    bound = 0.0
    if delta:
        epsilon += delta * delta
        bound += delta / RMS_FLOOR
    if floor:
        tiny = min(floor * floor, SMALLEST_FP16)
        epsilon = max(epsilon, tiny)
        bound += 0.5 * tiny / RMS_FLOOR**2 if floor <= RMS_FLOOR else floor / RMS_FLOOR
    return found.number / to_root, epsilon, bound


@dataclass(frozen=True, slots=True)
class Scaling:
    """What multiplies a normalised x: gamma over its axes, or a constant ``after`` it; ``drift`` from exactly 1."""

    gamma: npt.NDArray[np.float64] | None = None
    after: npt.NDArray[np.float64] | None = None
    drift: float = 0.0


def _scaling(flat: Product, scale: float, rank: int, sizes: dict[int, int], *, within: bool) -> Scaling | Refusal:
    """Return what the constants of a product, and the scale of its root, make of the normalised x.

    Parameters
    ----------
    flat: the product.
    scale: what is left of the root, 1 where it is the RMS itself.
    rank: of x.
    sizes: length of each normalised axis.
    within: whether no part of the product is a norm by itself.
    """
    total, along, elsewhere = np.full((1,) * rank, scale), False, False
    for constant, power in flat.constants:
        spread = constant.reshape((1,) * (rank - constant.ndim) + constant.shape)
        along |= any(n != 1 for axis, n in enumerate(spread.shape) if axis in sizes)
        elsewhere |= any(n != 1 for axis, n in enumerate(spread.shape) if axis not in sizes)
        with np.errstate(divide="ignore", invalid="ignore"):
            total = total * spread if power == 1 else total / spread
    is_rms = abs(scale - 1.0) <= SCALE_TOLERANCE
    if not np.isfinite(total).all():
        return Refusal("gamma is not finite")
    if elsewhere:
        if is_rms and not within:
            return Refusal("a constant factor varies along other axes than the normalised ones")
        return Scaling(after=total)
    number = float(total.flat[0])
    if not along and abs(number - 1.0) <= SCALE_TOLERANCE:
        drift = abs(number - 1.0)
        return Scaling(drift=drift if drift > SCALE_EXACT else 0.0)
    if not along and not is_rms:
        return Refusal(f"an L2 normalisation: the result is {number:.4g} times an RMSNorm, with no gamma to take it up")
    shape = [sizes.get(axis, 1) for axis in range(rank)]
    return Scaling(gamma=np.broadcast_to(total, shape).reshape(list(sizes.values())))
