r"""The lowerings of ``ane_rms_norm``: one function each, chosen by name, all equal to RMSNorm.

What they differ in is how they survive float16. In ``y = gamma * x / sqrt(mean(x^2) + eps)`` the squares overflow
from ``|x| = 256`` where they are stored, and their sum does wherever it is accumulated in float16.

=====================  ===============================================================================================
``layer_norm``         ``LayerNorm([x, -x])``: squares live inside one op, which may accumulate wider than it stores
``layer_norm_affine``  the same with gamma inside the layer norm: one op and one rounding fewer
``layer_norm_prescaled``  rows rescaled first, so that no accumulator overflows; epsilon enters as elements of the row
``l2_norm``            ``x / sqrt(sum(x^2) + d * eps)`` by MIL's own op, times ``sqrt(d)``
``max_abs``            rows divided by their largest magnitude, as coremltools writes ``torch.nn.RMSNorm``, with the
                       epsilon of the formula and zeros for zero rows
``none``               primitives, as models are written: what the others are compared with
=====================  ===============================================================================================

A strategy returns the value that replaces the op, named as the op's own result. To add one, write a function here
and decorate it with :func:`strategy`.
"""

from __future__ import annotations

import difflib
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from coremltools.converters.mil.mil import Builder as mb

from ane_rms import mil
from ane_rms.rewrite import constant

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    Strategy = Callable[[mil.Op], mil.Var]

STRATEGIES: dict[str, Strategy] = {}
"""Every lowering by name."""

DEFAULT_STRATEGY = "layer_norm"

LAYER_NORM = "layer_norm"
"""What the layer norm's name ends in."""


def strategy(function: Strategy) -> Strategy:
    """Register a lowering under its function's name."""
    if function.__name__ in STRATEGIES:
        raise ValueError(f"a lowering named {function.__name__!r} is registered already")
    STRATEGIES[function.__name__] = function
    return function


def check_strategy(name: str) -> str:
    """Return ``name`` if it is that of a lowering.

    Raises
    ------
    ValueError: otherwise, with the nearest names.
    """
    if name in STRATEGIES:
        return name
    near = difflib.get_close_matches(str(name), STRATEGIES, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(STRATEGIES))}"
    raise ValueError(f"unknown lowering {name!r}; {hint}")


@strategy
def layer_norm(op: mil.Op) -> mil.Var:
    """Negate, concatenate, layer-normalise without gamma or beta, keep the first half, scale."""
    if not _has_fixed_axis(op):
        return primitives(op)
    normal = _layer_norm(op, _doubled(op, op.x), _epsilon(op))
    return _scaled(op, _first(op, normal, op.outputs[0].name if op.gamma is None else part_name(op, "normalized")))


@strategy
def layer_norm_affine(op: mil.Op) -> mil.Var:
    """Fold gamma into the layer norm: the second half is dropped, so that it may be scaled as well."""
    if not _has_fixed_axis(op):
        return primitives(op)
    gamma = None
    if op.gamma is not None:
        gamma = np.concatenate([np.asarray(op.gamma.val)] * 2, axis=-1)
    return _first(op, _layer_norm(op, _doubled(op, op.x), _epsilon(op), gamma), op.outputs[0].name)


PAD = 16
"""Pairs of elements that carry epsilon in ``layer_norm_prescaled``: 32 float16 elements are one 64-byte line."""

SAFE = 128.0
"""Rows are rescaled so that the squares of [x, -x] sum to at most 2 * SAFE^2 = 32,768, half of float16's largest."""


@strategy
def layer_norm_prescaled(op: mil.Op) -> mil.Var:
    r"""Rescale each row by r, then layer-normalise ``[x, -x, c, -c] / r`` with epsilon 0.

    Sixteen elements c, whose squares sum to ``d * eps``, stand for epsilon, so that it is rescaled with the row. A
    layer norm does not change when its input is scaled, so r may be rough:

    ``m = max(|x|, c)``, ``s = sum(|x| / m)``, ``r`` the power of two at or above ``m * sqrt(s + 16) / 128``.

    From ``sum(v^2) <= max|v| * sum|v|``: the squares of the rescaled row sum to at most 128^2, whatever the row holds,
    and its largest element is no smaller than ``64 / sqrt(d + 16)``. Every sum on the way stays below ``d + 16``. A
    power of two makes the rescale exact. It stops at 2^15, which still holds for d up to 8,188.
    """
    axes = _axes(op)
    if not _has_fixed_axis(op) or len(axes) > 1:
        return primitives(op)
    x, (axis,) = op.x, axes
    width = int(x.shape[axis])
    pads = _split_sum(width * _epsilon(op))
    pad = float(pads.max())
    largest = mb.reduce_max(
        x=mb.abs(x=x, name=part_name(op, "abs")), axes=axes, keep_dims=True, name=part_name(op, "largest")
    )
    if pad:
        largest = mb.maximum(x=largest, y=mil.epsilon_like(x, pad), name=part_name(op, "floor"))
    parts = mb.abs(x=mb.real_div(x=x, y=largest, name=part_name(op, "unit")), name=part_name(op, "parts"))
    total = mb.reduce_sum(x=parts, axes=axes, keep_dims=True, name=part_name(op, "total"))
    total = mb.add(x=total, y=mil.epsilon_like(x, PAD), name=part_name(op, "total_padded"))
    root = mb.mul(
        x=mb.sqrt(x=total, name=part_name(op, "root")), y=mil.epsilon_like(x, 1 / SAFE), name=part_name(op, "share")
    )
    scale = _power_of_two(op, mb.mul(x=largest, y=root, name=part_name(op, "scale")), mb.ceil)
    doubled = _doubled(op, mb.real_div(x=x, y=scale, name=part_name(op, "rescaled")), _pads(op, scale, pads))
    gamma = np.ones(width) if op.gamma is None else np.asarray(op.gamma.val, dtype=np.float64)
    # The layer norm's mean is over d + 16 pairs: the result is short of RMSNorm's by sqrt(d / (d + 16)).
    affine = np.concatenate([gamma, gamma, np.ones(2 * PAD)]) * math.sqrt(width / (width + PAD))
    return _first(op, _layer_norm(op, doubled, 0.0, affine), op.outputs[0].name)


@strategy
def l2_norm(op: mil.Op) -> mil.Var:
    """Use MIL's ``l2_norm``, which normalises the last three axes together: two axes of length 1 are put in front."""
    x, axes = op.x, _axes(op)
    unknown = [n for n in x.shape[:-1] if not mil.known(n)]
    if axes != [x.rank - 1] or not _has_fixed_axis(op) or (x.rank > 3 and len(unknown) > 1):
        return primitives(op)
    width = int(x.shape[-1])
    if x.rank > 3:
        spread = mb.reshape(x=x, shape=[-1, 1, 1, width], name=part_name(op, "rows"))
    else:
        spread = mb.expand_dims(x=x, axes=[-3, -2], name=part_name(op, "rows"))
    normal = mb.l2_norm(x=spread, epsilon=mil.epsilon_like(x, width * _epsilon(op)), name=part_name(op, "l2_norm"))
    if x.rank > 3:
        shape = [int(n) if mil.known(n) else -1 for n in x.shape]
        normal = mb.reshape(x=normal, shape=shape, name=part_name(op, "unit"))
    else:
        normal = mb.squeeze(x=normal, axes=[-3, -2], name=part_name(op, "unit"))
    gamma = np.ones(()) if op.gamma is None else np.asarray(op.gamma.val, dtype=np.float64)
    scale = mil.cast_like(x, np.asarray(gamma * math.sqrt(width)))
    return mb.mul(x=normal, y=scale if scale.ndim else scale[()], name=op.outputs[0].name)


@strategy
def max_abs(op: mil.Op) -> mil.Var:
    """Divide by ``m * sqrt(mean((x/m)^2) + a/m * b/m)``, with ``a * b = eps``.

    m is the power of two at or below ``max(|x|, a, b)``. coremltools takes the largest magnitude itself, leaves
    epsilon unscaled, and divides zero rows by zero (issues 2585 and 2821). The floor keeps ``eps / m^2`` at 4 or below
    and the divisor at ``sqrt(eps)`` or above; a power of two makes the rescale exact, both ways; two factors hold
    epsilon closer than the square of one float16 number would.
    """
    x, axes, epsilon = op.x, _axes(op), _epsilon(op)
    a, b = _split_product(epsilon) if epsilon else (0.0, 0.0)
    largest = mb.reduce_max(
        x=mb.abs(x=x, name=part_name(op, "abs")), axes=axes, keep_dims=True, name=part_name(op, "largest")
    )
    if epsilon:
        largest = mb.maximum(x=largest, y=mil.epsilon_like(x, max(a, b)), name=part_name(op, "floor"))
    largest = _power_of_two(op, largest, mb.floor)
    square = mb.square(x=mb.real_div(x=x, y=largest, name=part_name(op, "unit")), name=part_name(op, "square"))
    mean = mb.reduce_mean(x=square, axes=axes, keep_dims=True, name=part_name(op, "mean_square"))
    if epsilon:
        share = mb.real_div(x=mil.epsilon_like(x, a), y=largest, name=part_name(op, "epsilon_a"))
        other = mb.real_div(x=mil.epsilon_like(x, b), y=largest, name=part_name(op, "epsilon_b"))
        share = mb.mul(x=share, y=other, name=part_name(op, "epsilon"))
        mean = mb.add(x=mean, y=share, name=part_name(op, "mean_square_epsilon"))
    rms = mb.mul(x=largest, y=mb.sqrt(x=mean, name=part_name(op, "root")), name=part_name(op, "rms"))
    name = op.outputs[0].name if op.gamma is None else part_name(op, "normalized")
    return _scaled(op, mb.real_div(x=x, y=rms, name=name))


@strategy
def none(op: mil.Op) -> mil.Var:
    """Expand into primitives, as the model was written."""
    return primitives(op)


def primitives(op: mil.Op) -> mil.Var:
    """Build ``x / sqrt(mean(x * x) + epsilon)``, scaled.

    A division keeps zero rows at zero where ``rsqrt`` of a small epsilon would overflow float16.
    """
    x, result = op.x, op.outputs[0].name
    square = mb.mul(x=x, y=x, name=part_name(op, "square"))
    mean = mb.reduce_mean(x=square, axes=_axes(op), keep_dims=True, name=part_name(op, "mean_square"))
    if epsilon := _epsilon(op):
        mean = mb.add(x=mean, y=mil.epsilon_like(x, epsilon), name=part_name(op, "mean_square_epsilon"))
    rms = mb.sqrt(x=mean, name=part_name(op, "rms"))
    return _scaled(op, mb.real_div(x=x, y=rms, name=result if op.gamma is None else part_name(op, "normalized")))


def part_name(op: mil.Op, part: str) -> str:
    """Return the name of a part of what replaces ``op``."""
    return f"{op.outputs[0].name}_{part}"


def _epsilon(op: mil.Op) -> float:
    return float(op.epsilon.val)


def _axes(op: mil.Op) -> list[int]:
    """Return the normalised axes, from the front, ascending."""
    return list(mil.positive_axes([int(axis) for axis in np.atleast_1d(op.axes.val)], op.x.rank))


def _has_fixed_axis(op: mil.Op) -> bool:
    """Return whether the normalised axes have sizes known at conversion; what does not is expanded."""
    return all(mil.known(op.x.shape[axis]) for axis in _axes(op))


def _doubled(op: mil.Op, x: mil.Var, *more: mil.Var) -> mil.Var:
    """Return ``[x, -x, ...]`` along the last normalised axis."""
    negative = mb.mul(x=x, y=constant(mil.epsilon_like(x, -1.0)), name=part_name(op, "negative"))
    return mb.concat(
        values=[x, negative, *more],
        axis=constant(np.int32(_axes(op)[-1] - x.rank)),
        interleave=constant(np.bool_(False)),
        name=part_name(op, "doubled"),
    )


def _pads(op: mil.Op, scale: mil.Var, pads: npt.NDArray[np.float64]) -> mil.Var:
    """Return ``[c, -c, c, -c, ...] / scale`` along the normalised axis; in turn, so that a running sum stays at 0."""
    shape = [2 * PAD if axis in _axes(op) else 1 for axis in range(op.x.rank)]
    values = np.stack([pads, -pads], axis=-1).reshape(shape)
    return mb.real_div(x=mil.cast_like(op.x, values), y=scale, name=part_name(op, "pads"))


def _split_sum(total: float) -> npt.NDArray[np.float64]:
    """Return 16 numbers whose squares sum to ``total``, and still nearly do once rounded to float16.

    All but the last are float16 numbers; the last makes up the difference, and its rounding is a sixteenth's.
    """
    even = math.sqrt(total / PAD)
    pads = np.full(PAD, float(np.float16(even)))
    pads[-1] = math.sqrt(max(total - float(np.sum(pads[:-1] ** 2)), 0.0))
    return pads if pads[-1] > even / 2 else np.full(PAD, even)


def _split_product(product: float) -> tuple[float, float]:
    """Return two numbers near its root whose product is ``product``, and still nearly is once rounded to float16."""
    candidates = [np.float16(math.sqrt(product))]
    for _ in range(64):
        candidates.append(np.nextafter(candidates[-1], np.float16(np.inf)))
    pairs = [(float(one), product / float(one)) for one in candidates if one > 0]
    return min(pairs, key=lambda pair: abs(pair[0] * float(np.float16(pair[1])) - product))


def _layer_norm(op: mil.Op, x: mil.Var, epsilon: float, gamma: npt.NDArray[Any] | None = None) -> mil.Var:
    """Layer-normalise over the op's axes, without beta."""
    given = {} if gamma is None else {"gamma": mil.cast_like(x, gamma)}
    return mb.layer_norm(
        x=x,
        axes=constant(np.array([axis - x.rank for axis in _axes(op)], np.int32)),
        epsilon=constant(mil.epsilon_like(x, epsilon)),
        name=part_name(op, LAYER_NORM),
        **given,
    )


def _power_of_two(op: mil.Op, value: mil.Var, rounding: Callable[..., mil.Var]) -> mil.Var:
    """Return 2 to the power of ``rounding(log2(value))``, at most 2^15: float16 has no 2^16."""
    exponent = mb.mul(
        x=mb.log(x=value, epsilon=mil.epsilon_like(op.x, 0.0), name=part_name(op, "log")),
        y=mil.epsilon_like(op.x, 1 / math.log(2)),
        name=part_name(op, "log2"),
    )
    whole = rounding(x=exponent, name=part_name(op, "whole"))
    capped = mb.minimum(x=whole, y=mil.epsilon_like(op.x, 15.0), name=part_name(op, "exponent"))
    return mb.exp2(x=capped, name=part_name(op, "power_of_two"))


def _first(op: mil.Op, value: mil.Var, name: str) -> mil.Var:
    """Keep as much of ``value``, from 0 along the last normalised axis, as x is long.

    The part kept starts at 0: on M1 and A14 a slice that starts further along the width is reported to apply a gain.
    """
    axis = _axes(op)[-1]
    whole = [i != axis for i in range(value.rank)]
    end = [0 if full else int(op.x.shape[axis]) for full in whole]
    mask = constant(np.array(whole))
    return mb.slice_by_index(
        x=value,
        begin=constant(np.zeros(value.rank, np.int32)),
        end=constant(np.array(end, np.int32)),
        begin_mask=mask,
        end_mask=mask,
        name=name,
    )


def _scaled(op: mil.Op, value: mil.Var) -> mil.Var:
    """Multiply by gamma if there is one, shaped so that it broadcasts along the normalised axes."""
    if op.gamma is None:
        return value
    axes = _axes(op)
    shape = [op.x.shape[i] if i in axes else 1 for i in range(axes[0], op.x.rank)]
    gamma = op.gamma
    if gamma.dtype != op.x.dtype or list(gamma.shape) != shape:
        gamma = mil.cast_like(op.x, np.asarray(gamma.val).reshape(shape))
    return mb.mul(x=value, y=gamma, name=op.outputs[0].name)
