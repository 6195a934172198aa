"""Build the parts of lowerings: the doubled row, its layer norm, the kept half, gamma, and epsilon in float16.

Each function takes the op ``ane_rms_norm`` to be replaced, builds ops in its place, and names them after its result.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from coremltools.converters.mil.mil import Builder as mb

from ane_rms import mil
from ane_rms.grammar import SMALLEST_FP16
from ane_rms.replacing import constant

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

PAD = 16
"""Pairs of elements that represent epsilon in ``layer_norm_prescaled``; 32 float16 elements are a 64-byte line."""


def part_name(op: mil.Op, part: str) -> str:
    """Return the name of a part of the replacement of ``op``."""
    return f"{op.outputs[0].name}_{part}"


def epsilon_of(op: mil.Op) -> float:
    """Return epsilon as a number."""
    return float(op.epsilon.val)


def axes_of(op: mil.Op) -> list[int]:
    """Return the normalised axes, counted from the front, ascending."""
    return list(mil.axes_of(op))


def has_fixed_axes(op: mil.Op) -> bool:
    """Return whether the sizes of the normalised axes are known at conversion; other norms are expanded."""
    return mil.has_fixed_axes(op)


def doubled(op: mil.Op, x: mil.Var, *more: mil.Var) -> mil.Var:
    """Return ``[x, -x, ...]`` along the last normalised axis."""
    negative = mb.mul(x=x, y=constant(mil.epsilon_like(x, -1.0)), name=part_name(op, "negative"))
    return mb.concat(
        values=[x, negative, *more],
        axis=constant(np.int32(axes_of(op)[-1] - x.rank)),
        interleave=constant(np.bool_(False)),
        name=part_name(op, "doubled"),
    )


def pads_over(op: mil.Op, scale: mil.Var, pads: npt.NDArray[np.float64]) -> mil.Var:
    """Return ``[c, -c, c, -c, ...] / scale`` along the normalised axis; signs alternate to keep a running sum at 0."""
    shape = [2 * PAD if axis in axes_of(op) else 1 for axis in range(op.x.rank)]
    values = np.stack([pads, -pads], axis=-1).reshape(shape)
    return mb.real_div(x=mil.cast_like(op.x, values), y=scale, name=part_name(op, "pads"))


def split_sum(total: float, count: int = PAD) -> npt.NDArray[np.float64]:
    """Return numbers whose squares sum to ``total``, also approximately after rounding to float16.

    All except the last are float16 numbers. The last compensates their error, so only its own share is rounded.
    """
    even = math.sqrt(total / count)
    pads = np.full(count, float(np.float16(even)))
    pads[-1] = math.sqrt(max(total - float(np.sum(pads[:-1] ** 2)), 0.0))
    return pads if pads[-1] > even / 2 else np.full(count, even)


def epsilon_elements(total: float, count: int) -> npt.NDArray[np.float64]:
    """Return elements whose squares sum to ``total``; they and their squares are float16 numbers, the elements normal.

    The shares are equal if their squares are far enough from float16's smallest number; otherwise one element has the
    whole. The sum is at least that number, so a sum in float16 preserves it. As the epsilon of a mean it is smaller
    than any that the other lowerings can store.
    """
    total = max(total, SMALLEST_FP16)
    if total / count >= 16 * SMALLEST_FP16:
        return split_sum(total, count)
    return np.array([math.sqrt(total), *[0.0] * (count - 1)])


def with_epsilon(op: mil.Op, x: mil.Var, total: float) -> mil.Var:
    """Return x followed along the one normalised axis by elements whose squares sum to ``total``.

    They are constants. If another dimension is not known before run time, they are made from x's own first elements,
    clamped from both sides to the required values, so that they have x's length along that dimension.
    """
    (axis,) = axes_of(op)
    width, flexible = int(x.shape[axis]), not all(mil.known(n) for n in x.shape)
    count = min(PAD, width) if flexible else PAD
    shape = [count if i == axis else 1 for i in range(x.rank)]
    values = epsilon_elements(total, count).reshape(shape)
    if flexible:
        whole = [i != axis for i in range(x.rank)]
        mask, wanted = constant(np.array(whole)), constant(mil.cast_like(x, values))
        head = mb.slice_by_index(
            x=x,
            begin=constant(np.zeros(x.rank, np.int32)),
            end=constant(np.array([0 if full else count for full in whole], np.int32)),
            begin_mask=mask,
            end_mask=mask,
            name=part_name(op, "head"),
        )
        lowered = mb.minimum(x=head, y=wanted, name=part_name(op, "at_most"))
        added = mb.maximum(x=lowered, y=wanted, name=part_name(op, "elements"))
    else:
        spread = [count if i == axis else int(n) for i, n in enumerate(x.shape)]
        added = constant(mil.cast_like(x, np.broadcast_to(values, spread)))
    return mb.concat(
        values=[x, added],
        axis=constant(np.int32(axis - x.rank)),
        interleave=constant(np.bool_(False)),
        name=part_name(op, "row"),
    )


def split_product(product: float) -> tuple[float, float]:
    """Return two numbers near the root of ``product`` whose product it is, also approximately in float16."""
    candidates = [np.float16(math.sqrt(product))]
    for _ in range(64):
        candidates.append(np.nextafter(candidates[-1], np.float16(np.inf)))
    pairs = [(float(one), product / float(one)) for one in candidates if one > 0]
    return min(pairs, key=lambda pair: abs(pair[0] * float(np.float16(pair[1])) - product))


def layer_normalised(op: mil.Op, x: mil.Var, epsilon: float, gamma: npt.NDArray[Any] | None = None) -> mil.Var:
    """Layer-normalise over the op's axes, without beta; from iOS 17 epsilon and gamma are float32."""
    stored = mil.epsilon_like(x, epsilon)
    given = {} if gamma is None else {"gamma": mil.cast_like(x, gamma)}
    if mil.takes_float32_parameters() and epsilon >= SMALLEST_FP16:
        stored = np.float32(epsilon)
        given = {name: np.asarray(value, np.float32) for name, value in given.items()}
    return mb.layer_norm(
        x=x,
        axes=constant(np.array([axis - x.rank for axis in axes_of(op)], np.int32)),
        epsilon=constant(stored),
        name=part_name(op, "layer_norm"),
        **given,
    )


def power_of_two(op: mil.Op, value: mil.Var, rounding: Callable[..., mil.Var]) -> mil.Var:
    """Return 2 to the power of ``rounding(log2(value))``, at most 2^15: float16 has no 2^16."""
    exponent = mb.mul(
        x=mb.log(x=value, epsilon=mil.epsilon_like(op.x, 0.0), name=part_name(op, "log")),
        y=mil.epsilon_like(op.x, 1 / math.log(2)),
        name=part_name(op, "log2"),
    )
    whole = rounding(x=exponent, name=part_name(op, "whole"))
    capped = mb.minimum(x=whole, y=mil.epsilon_like(op.x, 15.0), name=part_name(op, "exponent"))
    return mb.exp2(x=capped, name=part_name(op, "power_of_two"))


SAFE = 128.0
"""Rows are rescaled so that squares of [x, -x] sum to at most 2 * SAFE^2 = 32,768, half of float16's largest."""


def row_scale(op: mil.Op, pad: float) -> mil.Var:
    """Return the power of two that ``layer_norm_prescaled`` divides a row by; ``pad`` is the largest element added."""
    x, axes = op.x, axes_of(op)
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
    return power_of_two(op, mb.mul(x=largest, y=root, name=part_name(op, "scale")), mb.ceil)


def first_part(op: mil.Op, value: mil.Var, name: str) -> mil.Var:
    """Return the first part of ``value`` along the last normalised axis, as long as x.

    The kept part starts at 0 because on M1 and A14 a slice that starts further along the width is reported to apply a
    gain.
    """
    axis = axes_of(op)[-1]
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


def scaled_by_root_width(op: mil.Op, unit: mil.Var, width: int) -> mil.Var:
    """Multiply a row of length 1 by ``sqrt(d)`` and gamma: by their product, if x's type holds it."""
    root = mil.epsilon_like(op.x, math.sqrt(width))
    if op.gamma is None:
        return mb.mul(x=unit, y=root, name=op.outputs[0].name)
    product = _spread_gamma(op).astype(np.float64) * math.sqrt(width)
    if mil.holds(op.x, product):
        return mb.mul(x=unit, y=mil.cast_like(op.x, product), name=op.outputs[0].name)
    return scaled(op, mb.mul(x=unit, y=root, name=part_name(op, "normalized")))


def scaled(op: mil.Op, value: mil.Var) -> mil.Var:
    """Multiply by gamma, if there is one, in a shape that broadcasts along the normalised axes.

    A gamma that x's type does not hold multiplies in float32.
    """
    if op.gamma is None:
        return value
    spread, result = _spread_gamma(op), op.outputs[0]
    if not mil.holds(op.x, spread):
        wide = mb.cast(x=value, dtype="fp32", name=part_name(op, "wide"))
        product = mb.mul(x=wide, y=spread.astype(np.float32), name=part_name(op, "wide_scaled"))
        return mb.cast(x=product, dtype=mil.dtype(result), name=result.name)
    gamma = op.gamma
    if gamma.dtype != op.x.dtype or tuple(gamma.shape) != spread.shape:
        gamma = mil.cast_like(op.x, spread)
    return mb.mul(x=value, y=gamma, name=result.name)


def _spread_gamma(op: mil.Op) -> npt.NDArray[Any]:
    """Return gamma in a shape that broadcasts along the normalised axes."""
    axes = axes_of(op)
    sizes = dict(zip(axes, op.gamma.shape, strict=True))
    return np.asarray(op.gamma.val).reshape([sizes.get(axis, 1) for axis in range(axes[0], op.x.rank)])
