r"""The whole: ``gamma * x * (mean(x^2) + epsilon)^(-1/2)`` as a product of x, one inverse root, and constants.

.. math::  \frac{n \, x \prod c}{\sqrt{a \sum x^2 + e}}
           = \frac{n \prod c}{\sqrt{a d}} \cdot \frac{x}{\sqrt{\tfrac1d \sum x^2 + \tfrac{e}{a d}}}

The first fraction is gamma. What keeps a product from being that is said in a sentence.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ane_rms import mil
from ane_rms.grammar.deviation import DEVIATION_LIMIT, RMS_FLOOR, normalised
from ane_rms.grammar.forms import (
    NO_FIXED_SIZE,
    Product,
    Quadratic,
    Refusal,
    RmsNorm,
    Root,
    constant_operand,
    same,
)
from ane_rms.grammar.product import product, scaling
from ane_rms.grammar.root import root

if TYPE_CHECKING:
    from collections.abc import Collection


def rms_norm(op: mil.Op, *, any_axes: bool = False) -> RmsNorm | Refusal | None:
    """Return the RMSNorm whose last multiplication or division is ``op``.

    Parameters
    ----------
    op: a ``mul`` or ``real_div``.
    any_axes: whether trailing axes and single inner axes are recognised as well as the last one.
    """
    return _in_product(op, product(op), any_axes=any_axes, within=False)


def rms_norm_within(op: mil.Op, taken: Collection[int], *, any_axes: bool = False) -> RmsNorm | None:
    """Return the RMSNorm in the product that ends in ``op``, whatever else multiplies or divides it.

    For products that have no norm as a part: a gate between x and the inverse root, a gamma computed at run time, or
    one that varies along other axes, multiplied to the inverse root first.

    Parameters
    ----------
    op: a ``mul`` or ``real_div``.
    taken: ids of the ops that compute norms; they are not looked into.
    any_axes: whether trailing axes and single inner axes are recognised as well as the last one.
    """
    found = _in_product(op, product(op, taken), any_axes=any_axes, within=True)
    return found if isinstance(found, RmsNorm) else None


def _in_product(op: mil.Op, flat: Product, *, any_axes: bool, within: bool) -> RmsNorm | Refusal | None:
    """Try each inverse root among the factors; return the first RMSNorm around one, or why the last is none."""
    refusal: Refusal | None = None
    for at, (var, power) in enumerate(flat.factors):
        found = root(var)
        if isinstance(found, Root) and found.power * power == -1:
            result = _whole(op, flat, found, at, any_axes=any_axes, within=within)
            if isinstance(result, RmsNorm):
                return result
            refusal = replace(result, op=found.op)
        elif isinstance(found, Refusal):
            refusal = refusal or found
    return refusal


def _whole(op: mil.Op, flat: Product, found: Root, at: int, *, any_axes: bool, within: bool) -> RmsNorm | Refusal:
    """Check the parts of a product around one inverse root, its factor ``at``, against each other."""
    found, rest, unscaled = _unscaled(found, flat.factors[:at] + flat.factors[at + 1 :])
    q, x = found.quadratic, found.quadratic.x
    others = _others(x, rest) if within else ()
    refusal = _refuse_factors(x, rest, others) or _refuse_axes(q, any_axes=any_axes) or _refuse_shape(op, x)
    if refusal is not None:
        return refusal
    sizes = {axis: int(x.shape[axis]) for axis in q.axes}
    scale, epsilon, bound = normalised(found, math.prod(sizes.values()))
    if bound > DEVIATION_LIMIT:
        return Refusal(
            f"not exactly an RMSNorm: deviates by up to {bound:.2g} for rows whose RMS is {RMS_FLOOR:g} or more, "
            f"above the limit of {DEVIATION_LIMIT:g}: add epsilon to the mean square, under the root"
        )
    made = scaling(flat, scale, x.rank, sizes, within=within)
    if isinstance(made, Refusal):
        return made
    tail = ("mul" if found.power == -1 else "div") + ("_epsilon_outside" if found.outside else "")
    return RmsNorm(
        op=op,
        x=x,
        axes=tuple(mil.signed_axis(axis, x.rank) for axis in q.axes),
        gamma=made.gamma,
        after=made.after,
        epsilon=epsilon,
        spelling=f"{unscaled}{found.spelling}_{tail}",
        deviation_bound=bound + made.drift,
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
    operand = constant_operand(inner) if inner.op_type == "mul" else _divided(inner)
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
