"""Affine quantisation of activations (iOS 17): one scale, or one per index of an axis."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from harness.interpreter.dtypes import dtype_named
from harness.interpreter.registry import impl

if TYPE_CHECKING:
    from torch import Tensor


def _along(values: Tensor, x: Tensor, axis: int | None) -> Tensor:
    """Shape a scalar or vector so that it broadcasts along ``axis``."""
    if values.dim() == 0 or axis is None:
        return values
    return values.reshape([-1 if d == axis % x.dim() else 1 for d in range(x.dim())])


@impl("quantize", since=17)
def quantize(
    input: Tensor,
    scale: Tensor,
    output_dtype: str,
    zero_point: Tensor | None = None,
    axis: int | None = None,
) -> Tensor:
    """Return ``clip(round(input / scale) + zero_point)``, halves to even, in int8 or uint8."""
    low, high = dtype_named(output_dtype).bounds
    levels = torch.round(input / _along(scale, input, axis))
    if zero_point is not None:
        levels = levels + _along(zero_point, input, axis)
    return levels.clamp(low, high)


@impl("dequantize", since=17)
def dequantize(
    input: Tensor,
    scale: Tensor,
    zero_point: Tensor | None = None,
    axis: int | None = None,
) -> Tensor:
    """Return ``scale * (input - zero_point)``."""
    levels = input.to(scale.dtype)
    if zero_point is not None:
        levels = levels - _along(zero_point, input, axis).to(scale.dtype)
    return levels * _along(scale, input, axis)
