r"""Define the lowerings of ``ane_rms_norm``: one function each, chosen by name, all equal to RMSNorm.

They differ in their behaviour in float16. In ``y = gamma * x / sqrt(mean(x^2) + eps)`` the squares overflow
from ``|x| = 256`` on if they are stored, and so does their sum if it is accumulated in float16.

=====================  ===============================================================================================
``layer_norm``         ``LayerNorm([x, -x])``: squares live inside one op, which may accumulate wider than it stores
``layer_norm_affine``  the same with gamma inside the layer norm: one op and one rounding fewer
``layer_norm_prescaled``  rows rescaled first, so that no accumulator overflows; epsilon enters as elements of the row
``l2_norm``            ``x / sqrt(sum(x^2) + d * eps)`` by MIL's own op, times ``sqrt(d)``
``reduce_l2_norm``     ``x / reduce_l2_norm([x, c])`` times ``sqrt(d)``, for rows whose norm float16 holds
``max_abs``            rows divided by their largest magnitude, as coremltools writes ``torch.nn.RMSNorm``, mended
``auto``               one of these by width, family and calibrated range: :mod:`ane_rms.passes.choice`
``none``               primitives, as in the model; the others are compared with it
=====================  ===============================================================================================

A strategy returns the value that replaces the op, named as the op's own result. To add one, write a function here
and decorate it with :func:`strategy`, which states the traits that guards, counts, reports and the command line read.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from coremltools.converters.mil.mil import Builder as mb

from ane_rms import mil
from ane_rms.passes.choice import choose, norm_of
from ane_rms.passes.lowering_traits import Strategy
from ane_rms.passes.parts import (
    PAD,
    axes_of,
    doubled,
    epsilon_of,
    first_part,
    has_fixed_axes,
    layer_normalised,
    pads_over,
    part_name,
    power_of_two,
    row_scale,
    scaled,
    scaled_by_root_width,
    split_product,
    split_sum,
    with_epsilon,
)
from ane_rms.passes.primitives import Unlowerable, primitives
from ane_rms.registry import Registry
from ane_rms.replacing import constant

if TYPE_CHECKING:
    from collections.abc import Callable

    from ane_rms.passes.lowering_traits import Build


STRATEGIES: Registry[Strategy] = Registry("lowering")
"""Every lowering by name, the default one first."""


def strategy(
    *,
    doubles_axis: bool = False,
    keeps_epsilon: bool = False,
    squares_stay_inside: bool = False,
    rescales_rows: bool = False,
    folds_gamma: bool = False,
) -> Callable[[Build], Build]:
    """Register a function as the lowering of its name; the traits are those of :class:`Strategy`.

    Raises
    ------
    ValueError: if a lowering of that name is registered already.
    """

    def register(build: Build) -> Build:
        entry = Strategy(build, doubles_axis, keeps_epsilon, squares_stay_inside, rescales_rows, folds_gamma)
        STRATEGIES.add(build.__name__, entry, build)
        return build

    return register


def _one_axis(op: mil.Op) -> tuple[int, int]:
    """Return the normalised axis and its number of elements.

    Raises
    ------
    Unlowerable: for several axes.
    """
    axes = axes_of(op)
    if len(axes) > 1:
        raise Unlowerable("takes one normalised axis alone")
    return axes[0], int(op.x.shape[axes[0]])


@strategy(doubles_axis=True, keeps_epsilon=True, squares_stay_inside=True)
def layer_norm(op: mil.Op) -> mil.Var:
    """Negate, concatenate, layer-normalise without gamma or beta, keep the first half, scale."""
    if not has_fixed_axes(op):
        return primitives(op)
    normal = layer_normalised(op, doubled(op, op.x), epsilon_of(op))
    return scaled(op, first_part(op, normal, op.outputs[0].name if op.gamma is None else part_name(op, "normalized")))


@strategy(doubles_axis=True, keeps_epsilon=True, squares_stay_inside=True, folds_gamma=True)
def layer_norm_affine(op: mil.Op) -> mil.Var:
    """Fold gamma into the layer norm: the second half is dropped, so that it may be scaled as well."""
    if not has_fixed_axes(op):
        return primitives(op)
    gamma = None
    if op.gamma is not None:
        gamma = np.concatenate([np.asarray(op.gamma.val)] * 2, axis=-1)
    return first_part(op, layer_normalised(op, doubled(op, op.x), epsilon_of(op), gamma), op.outputs[0].name)


@strategy(doubles_axis=True, squares_stay_inside=True, rescales_rows=True)
def layer_norm_prescaled(op: mil.Op) -> mil.Var:
    r"""Rescale each row by r, then layer-normalise ``[x, -x, c, -c] / r`` with epsilon 0.

    Sixteen elements c, whose squares sum to ``d * eps``, replace epsilon, so that it is rescaled with the row. A
    layer norm does not change when its input is scaled, so r may be rough:

    ``m = max(|x|, c)``, ``s = sum(|x| / m)``, ``r`` the power of two at or above ``m * sqrt(s + 16) / 128``.

    From ``sum(v^2) <= max|v| * sum|v|``: squares of the rescaled row sum to at most 128^2, its largest element is no
    smaller than ``64 / sqrt(d + 16)``, and sums on the way stay below ``d + 16``. A power of two makes the rescale
    exact. It stops at 2^15, which still holds for d up to 8,188.
    """
    if not has_fixed_axes(op):
        return primitives(op)
    x, (_, width) = op.x, _one_axis(op)
    pads = split_sum(width * epsilon_of(op))
    scale = row_scale(op, float(pads.max()))
    row = doubled(op, mb.real_div(x=x, y=scale, name=part_name(op, "rescaled")), pads_over(op, scale, pads))
    gamma = np.ones(width) if op.gamma is None else np.asarray(op.gamma.val, dtype=np.float64)
    # The layer norm's mean is over d + 16 pairs: the result is short of RMSNorm's by sqrt(d / (d + 16)).
    affine = np.concatenate([gamma, gamma, np.ones(2 * PAD)]) * math.sqrt(width / (width + PAD))
    return first_part(op, layer_normalised(op, row, 0.0, affine), op.outputs[0].name)


@strategy(squares_stay_inside=True)
def l2_norm(op: mil.Op) -> mil.Var:
    """Use MIL's ``l2_norm``, which normalises the last three axes together; two axes of length 1 are inserted."""
    x, axes = op.x, axes_of(op)
    unknown = [n for n in x.shape[:-1] if not mil.known(n)]
    if not has_fixed_axes(op):
        return primitives(op)
    if axes != [x.rank - 1]:
        raise Unlowerable("takes the last axis alone")
    if x.rank > 3 and len(unknown) > 1:
        raise Unlowerable("takes one axis of flexible size at rank 4 and above")
    width = int(x.shape[-1])
    if x.rank > 3:
        spread = mb.reshape(x=x, shape=[-1, 1, 1, width], name=part_name(op, "rows"))
    else:
        spread = mb.expand_dims(x=x, axes=[-3, -2], name=part_name(op, "rows"))
    normal = mb.l2_norm(x=spread, epsilon=mil.epsilon_like(x, width * epsilon_of(op)), name=part_name(op, "l2_norm"))
    if x.rank > 3:
        shape = [int(n) if mil.known(n) else -1 for n in x.shape]
        normal = mb.reshape(x=normal, shape=shape, name=part_name(op, "unit"))
    else:
        normal = mb.squeeze(x=normal, axes=[-3, -2], name=part_name(op, "unit"))
    return scaled_by_root_width(op, normal, width)


@strategy(squares_stay_inside=True)
def reduce_l2_norm(op: mil.Op) -> mil.Var:
    r"""Divide by the norm of ``[x, c]`` and multiply by ``gamma * sqrt(d)``.

    The squares of the elements c sum to ``d * eps``, so the norm is ``sqrt(sum(x^2) + d * eps)``. Epsilon is exact,
    and neither it nor a square is stored. Range: the norm of a row, RMS times ``sqrt(d)``, must stay below 65,504;
    a larger row gives zeros. ExecuTorch's form (pull request 19523) has a floor in place of epsilon.
    """
    if not has_fixed_axes(op):
        return primitives(op)
    x, (axis, width) = op.x, _one_axis(op)
    row = with_epsilon(op, x, width * epsilon_of(op)) if epsilon_of(op) else x
    norm = mb.reduce_l2_norm(
        x=row, axes=constant(np.array([axis - x.rank], np.int32)), keep_dims=True, name=part_name(op, "norm")
    )
    normal = mb.real_div(x=x, y=norm, name=part_name(op, "unit"))
    return scaled_by_root_width(op, normal, width)


@strategy(rescales_rows=True)
def max_abs(op: mil.Op) -> mil.Var:
    """Divide by ``m * sqrt(mean((x/m)^2) + a/m * b/m)``, with ``a * b = eps``.

    m is the power of two at or below ``max(|x|, a, b)``. coremltools takes the largest magnitude itself, leaves
    epsilon unscaled, and divides zero rows by zero (issues 2585 and 2821). The floor keeps ``eps / m^2`` at 4 or below
    and the divisor at ``sqrt(eps)`` or above; a power of two makes the rescale exact, both ways; two factors hold
    epsilon closer than the square of one float16 number would.
    """
    x, axes, epsilon = op.x, axes_of(op), epsilon_of(op)
    a, b = split_product(epsilon) if epsilon else (0.0, 0.0)
    largest = mb.reduce_max(
        x=mb.abs(x=x, name=part_name(op, "abs")), axes=axes, keep_dims=True, name=part_name(op, "largest")
    )
    if epsilon:
        largest = mb.maximum(x=largest, y=mil.epsilon_like(x, max(a, b)), name=part_name(op, "floor"))
    largest = power_of_two(op, largest, mb.floor)
    square = mb.square(x=mb.real_div(x=x, y=largest, name=part_name(op, "unit")), name=part_name(op, "square"))
    mean = mb.reduce_mean(x=square, axes=axes, keep_dims=True, name=part_name(op, "mean_square"))
    if epsilon:
        share = mb.real_div(x=mil.epsilon_like(x, a), y=largest, name=part_name(op, "epsilon_a"))
        other = mb.real_div(x=mil.epsilon_like(x, b), y=largest, name=part_name(op, "epsilon_b"))
        share = mb.mul(x=share, y=other, name=part_name(op, "epsilon"))
        mean = mb.add(x=mean, y=share, name=part_name(op, "mean_square_epsilon"))
    rms = mb.mul(x=largest, y=mb.sqrt(x=mean, name=part_name(op, "root")), name=part_name(op, "rms"))
    name = op.outputs[0].name if op.gamma is None else part_name(op, "normalized")
    return scaled(op, mb.real_div(x=x, y=rms, name=name))


@strategy(doubles_axis=True, keeps_epsilon=True, squares_stay_inside=True)
def auto(op: mil.Op) -> mil.Var:
    """Choose by width only; the pass also considers the family, calibrated range and enumerated shapes."""
    return STRATEGIES[choose(norm_of(op)).lowering].build(op)


@strategy()
def none(op: mil.Op) -> mil.Var:
    """Expand into primitives, as in the model."""
    return primitives(op)


DEFAULT_STRATEGY = STRATEGIES.default
