r"""Recognise ``gamma * x * (mean(x^2) + epsilon)^(-1/2)`` as a product of x, one inverse root, and constants.

.. math::  \frac{n \, x \prod c}{\sqrt{a \sum x^2 + e}}
           = \frac{n \prod c}{\sqrt{a d}} \cdot \frac{x}{\sqrt{\tfrac1d \sum x^2 + \tfrac{e}{a d}}}

The first fraction is gamma. A refusal gives the reason why a product does not have this form in a sentence.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ane_rms import mil
from ane_rms.grammar.deviation import DEVIATION_LIMIT, RMS_FLOOR, largest_taken_out, normalised
from ane_rms.grammar.doubled import doubled
from ane_rms.grammar.forms import NO_FIXED_SIZE, NO_HALF, Quadratic, Refusal, RmsNorm, Root
from ane_rms.grammar.operand import Operand, operand
from ane_rms.grammar.product import SCALE_TOLERANCE, Node, Product, Scaling, product, scaling
from ane_rms.grammar.root import root
from ane_rms.grammar.spread import centred_on, is_along
from ane_rms.grammar.values import same

if TYPE_CHECKING:
    from collections.abc import Sequence

FLOAT16_MAX = float(np.finfo(np.float16).max)
SMALLEST_GAMMA = 2.0**-10
"""Bounds of gamma beside a factor known only at run time: the scaled norm must neither overflow nor vanish."""


def rms_norm(op: mil.Op, *, any_axes: bool = False) -> RmsNorm | Refusal | None:
    """Return the RMSNorm whose last multiplication or division is ``op``.

    Parameters
    ----------
    op: a ``mul`` or ``real_div``.
    any_axes: whether trailing axes and single inner axes are recognised as well as the last one.
    """
    return _in_product(product(op), any_axes=any_axes, within=False)


def rms_norm_within(op: mil.Op, *, any_axes: bool = False) -> RmsNorm | Refusal | None:
    """Return the RMSNorm times one other value, or times a constant along other axes, that ``op`` completes.

    This is for products without a norm as a part: a gate between x and the inverse root, a gamma computed at run
    time, or one that varies along other axes and multiplies x or the inverse root first.

    Parameters
    ----------
    op: a ``mul`` or ``real_div``.
    any_axes: whether trailing axes and single inner axes are recognised as well as the last one.
    """
    return _in_product(product(op), any_axes=any_axes, within=True)


def _in_product(flat: Product, *, any_axes: bool, within: bool) -> RmsNorm | Refusal | None:
    """Try each inverse root among the factors; return the first RMSNorm around one, or the last refusal."""
    refusal: Refusal | None = None
    for at, factor in flat.unknowns():
        found = root(factor.var)
        if isinstance(found, Root) and found.power * factor.power == -1:
            result = _whole(flat, found, at, any_axes=any_axes, within=within)
            if isinstance(result, RmsNorm):
                return result
            refusal = refusal if result is None else replace(result, root=found.op)
        elif isinstance(found, Refusal) and found.root is not None:
            refusal = refusal or found
    return refusal


def _whole(flat: Product, found: Root, at: int, *, any_axes: bool, within: bool) -> RmsNorm | Refusal | None:
    """Check that the parts of a product around one inverse root, its factor ``at``, fit each other.

    Returns None if ``within`` is set and x and the root first meet in another op of the product.
    """
    op = flat.nodes[0].var.op
    scaled = operand(flat, found, at)
    if scaled is None:
        return _not_scaled(op, found.quadratic, flat)
    if within and not scaled.meets_last:
        return None
    written = found.quadratic
    found = replace(found, quadratic=scaled.quadratic, number=found.number * scaled.number)
    q = found.quadratic
    refusal = (
        _refuse_centred(op, q)
        or _refuse_others(op, scaled, within=within)
        or _refuse_axes(op, q, any_axes=any_axes)
        or _refuse_shape(op, found, flat.nodes[at])
    )
    if refusal is not None:
        return refusal
    sizes = {axis: int(q.x.shape[axis]) for axis in q.axes}
    width = math.prod(sizes.values())
    is_rms = math.isclose(found.scale * math.sqrt(written.scale * width), 1.0, rel_tol=SCALE_TOLERANCE)
    scale, epsilon, bound = normalised(found, width)
    if scaled.is_over_largest and not scaled.is_torchs:
        epsilon, own = largest_taken_out(epsilon, width)
        bound += own
    made = scaling(scaled.constants, scale, q.x.rank, sizes, op, is_rms=is_rms)
    if isinstance(made, Refusal):
        return made
    bound += made.drift
    refusal = _refuse_deviation(op, bound, scaled, outside=found.outside > 0) or _refuse_constants(
        op, made, scaled.others, width, within=within
    )
    if refusal is not None:
        return refusal
    tail = ("mul" if found.power == -1 else "div") + ("_epsilon_outside" if found.outside else "")
    return RmsNorm(
        op=op,
        x=q.x,
        axes=tuple(mil.signed_axis(axis, q.x.rank) for axis in q.axes),
        gamma=made.gamma,
        after=made.after,
        epsilon=epsilon,
        spelling=f"{'max_abs_' if scaled.is_over_largest else ''}{found.spelling}_{tail}",
        kind="l2_norm" if made.is_unit else "rms_norm",
        deviation_bound=bound,
        roots=(found.op, *q.roots),
        interior=flat.ops,
        others=tuple((node.var, node.power) for node in scaled.others),
    )


def refuse(op: mil.Op, reason: str) -> Refusal:
    """Return a refusal of this production at ``op``."""
    return Refusal(reason, op, "rms_norm")


def _not_scaled(op: mil.Op, q: Quadratic, flat: Product) -> Refusal:
    """Return a refusal stating that x is not among the factors."""
    centre = centred_on(q.x)
    if centre is not None and centre[1] == q.axes:
        if any(same(var, centre[0]) for var, _ in flat.factors):
            return refuse(op, "the mean square is a variance: the mean is subtracted from x before it is squared")
        return of_variance(op, centre[0])
    return refuse(op, "what is scaled is not the value whose mean square is taken")


def of_variance(op: mil.Op, x: mil.Var) -> Refusal:
    """Return a refusal of a variance of x that scales something other than x less its mean."""
    if doubled(x) is not None:
        return refuse(op, "the variance of a value joined with its negative is a mean square: take that of the value")
    return Refusal("a variance scales something else", op, "rms_norm", is_layer_norm=True)


def _refuse_centred(op: mil.Op, q: Quadratic) -> Refusal | None:
    """Refuse a LayerNorm, where x is centred on its mean over the same axes; a mean over other axes is no objection."""
    centre = centred_on(q.x)
    if centre is None or centre[1] != q.axes:
        return None
    if doubled(centre[0]) is not None:
        return refuse(op, NO_HALF)
    return Refusal("a LayerNorm: the mean is subtracted before", op, "rms_norm", is_layer_norm=True)


def _refuse_others(op: mil.Op, scaled: Operand, *, within: bool) -> Refusal | None:
    """Refuse factors known only at run time; within a product, all except one between x and the root."""
    if len(scaled.others) <= within:
        return None
    if len(scaled.others) == 1:
        return refuse(op, "the normalised value is multiplied by something that is not constant")
    return refuse(op, "x or its inverse root is multiplied by several values known at run time only")


def _refuse_axes(op: mil.Op, q: Quadratic, *, any_axes: bool) -> Refusal | None:
    """Refuse unless the last axis is reduced; with ``any_axes``, trailing axes or any single one."""
    rank = q.x.rank
    last, trailing = q.axes == (rank - 1,), q.axes == tuple(range(rank - len(q.axes), rank))
    if not (last or (any_axes and (trailing or len(q.axes) == 1))):
        signed = [mil.signed_axis(axis, rank) for axis in q.axes]
        allowed = "trailing axes or a single one are" if any_axes else "the last axis is"
        mend = "" if any_axes or not (trailing or len(q.axes) == 1) else ": axes='any' fuses this one as well"
        word = ("transposed " if q.is_turned else "") + ("mean" if q.spelling == "mean" else "sum")
        return refuse(op, f"the {word} is over axes {signed} of rank {rank}; only {allowed} fused{mend}")
    sizes = [mil.shape(q.x)[axis] for axis in q.axes]
    if 0 in sizes:
        return refuse(op, "the normalised axis has no elements")
    return None if all(isinstance(n, int) for n in sizes) else refuse(op, NO_FIXED_SIZE)


def _refuse_shape(op: mil.Op, found: Root, factor: Node) -> Refusal | None:
    """Refuse a root that scales along other axes than x's, and factors that broadcast the result over more."""
    x = found.quadratic.x
    shape, expected = mil.shape(op.outputs[0]), mil.shape(x)
    if not is_along(found.quadratic, factor.var):
        if factor.var.rank < x.rank:
            return refuse(op, "the mean drops its axis, so that it scales along another one: take it with keepdim=True")
        return refuse(op, f"the root has shape {list(mil.shape(factor.var))}, which does not scale x row by row")
    if shape != expected:
        return refuse(op, f"the result has shape {list(shape)}, x has {list(expected)}")
    return None


def _refuse_deviation(op: mil.Op, bound: float, scaled: Operand, *, outside: bool) -> Refusal | None:
    """Refuse a product whose total deviation from an RMSNorm is too large."""
    if bound <= DEVIATION_LIMIT:
        return None
    mend = "the root has a lower bound: add epsilon to the mean square, under the root, in its place"
    if outside:
        mend = "epsilon is added to the root: add it to the mean square, under the root"
    if scaled.is_over_largest:
        mend = "epsilon acts as epsilon times the square of the row's largest magnitude"
    return refuse(
        op,
        f"not exactly an RMSNorm: deviates by up to {bound:.2g} for rows whose RMS is {RMS_FLOOR:g} or more, "
        f"above the limit of {DEVIATION_LIMIT:g}: {mend}",
    )


def _refuse_constants(op: mil.Op, made: Scaling, others: Sequence[Node], width: int, *, within: bool) -> Refusal | None:
    """Refuse constants along other axes if a part is an RMSNorm by itself, and a gamma that could overflow.

    No element of a norm exceeds ``sqrt(width)``, so a first factor below float16's largest number divided by that does
    not overflow.
    """
    if made.after is not None and made.is_rms and not within:
        return refuse(op, "a constant factor varies along other axes than the normalised ones")
    total = made.gamma if made.gamma is not None else made.after
    if not others or total is None:
        return None
    sizes = np.abs(total[total != 0])
    if sizes.size and (sizes.max() * math.sqrt(width) > FLOAT16_MAX or sizes.min() < SMALLEST_GAMMA):
        return refuse(op, "gamma stands beside a value known at run time only, and could leave float16 before it")
    return None
