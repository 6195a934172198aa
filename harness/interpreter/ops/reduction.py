"""Reductions over axes (all of them when none are given) and over one axis.

Sums go through the context, so that a policy can accumulate them in float16. ``reduce_log_sum_exp``
subtracts the maximum first, as MIL's own definition does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from harness.interpreter.engine_arithmetic import narrow_total
from harness.interpreter.registry import impl

if TYPE_CHECKING:
    from torch import Tensor

    from harness.interpreter.context import Context
    from harness.interpreter.registry import Ints


def _dims(x: Tensor, axes: Ints | None) -> Ints:
    return tuple(range(x.dim())) if axes is None else tuple(axis % x.dim() for axis in axes)


def _squeezed(kept: Tensor, dims: Ints, keep_dims: bool) -> Tensor:
    return kept if keep_dims or not dims else kept.squeeze(dims)


@impl("reduce_sum")
def reduce_sum(ctx: Context, x: Tensor, axes: Ints | None = None, *, keep_dims: bool = False) -> Tensor:
    """``sum(x)``; the Neural Engine sums narrow here, as nowhere else."""
    dims = _dims(x, axes)
    if ctx.engine is not None and ctx.engine.narrow_sum and dims and x.is_floating_point():
        return _squeezed(narrow_total(ctx.engine, x, dims), dims, keep_dims)
    return _squeezed(ctx.sum(x, dims), dims, keep_dims)


@impl("reduce_mean")
def reduce_mean(ctx: Context, x: Tensor, axes: Ints | None = None, *, keep_dims: bool = False) -> Tensor:
    """``sum(x) / n``."""
    dims = _dims(x, axes)
    return _squeezed(ctx.mean(x, dims), dims, keep_dims)


@impl("reduce_sum_square")
def reduce_sum_square(ctx: Context, x: Tensor, axes: Ints | None = None, *, keep_dims: bool = False) -> Tensor:
    """``sum(x * x)``."""
    dims = _dims(x, axes)
    return _squeezed(ctx.sum(x * x, dims), dims, keep_dims)


@impl("reduce_l1_norm")
def reduce_l1_norm(ctx: Context, x: Tensor, axes: Ints | None = None, *, keep_dims: bool = False) -> Tensor:
    """``sum(|x|)``."""
    dims = _dims(x, axes)
    return _squeezed(ctx.sum(x.abs(), dims), dims, keep_dims)


@impl("reduce_l2_norm")
def reduce_l2_norm(ctx: Context, x: Tensor, axes: Ints | None = None, *, keep_dims: bool = False) -> Tensor:
    """``sqrt(sum(x * x))``."""
    dims = _dims(x, axes)
    return _squeezed(ctx.sum(x * x, dims).sqrt(), dims, keep_dims)


@impl("reduce_log_sum")
def reduce_log_sum(ctx: Context, x: Tensor, axes: Ints | None = None, *, keep_dims: bool = False) -> Tensor:
    """``ln(sum(x))``."""
    dims = _dims(x, axes)
    return _squeezed(ctx.sum(x, dims).log(), dims, keep_dims)


@impl("reduce_log_sum_exp")
def reduce_log_sum_exp(ctx: Context, x: Tensor, axes: Ints | None = None, *, keep_dims: bool = False) -> Tensor:
    """``m + ln(sum(e ** (x - m)))`` with ``m = max(x)``."""
    dims = _dims(x, axes)
    value = x if x.is_floating_point() else x.double()
    largest = value.amax(dims, keepdim=True)
    shift = torch.where(largest.isfinite(), largest, torch.zeros_like(largest))
    return _squeezed(shift + ctx.sum((value - shift).exp(), dims).log(), dims, keep_dims)


@impl("reduce_max")
def reduce_max(x: Tensor, axes: Ints | None = None, *, keep_dims: bool = False) -> Tensor:
    """``max(x)``."""
    dims = _dims(x, axes)
    return x.amax(dims, keepdim=keep_dims) if dims else x


@impl("reduce_min")
def reduce_min(x: Tensor, axes: Ints | None = None, *, keep_dims: bool = False) -> Tensor:
    """``min(x)``."""
    dims = _dims(x, axes)
    return x.amin(dims, keepdim=keep_dims) if dims else x


@impl("reduce_prod")
def reduce_prod(x: Tensor, axes: Ints | None = None, *, keep_dims: bool = False) -> Tensor:
    """Return the product of the elements."""
    dims = _dims(x, axes)
    result = x
    for dim in dims:
        result = result.prod(dim, keepdim=True)
    return _squeezed(result, dims, keep_dims)


@impl("reduce_argmax", moves=True)
def reduce_argmax(x: Tensor, axis: int = -1, *, keep_dims: bool = False, output_dtype: str = "int32") -> Tensor:
    """Return the index of the largest element, the first of equals."""
    del output_dtype  # the declared type of the result says it already
    return x.argmax(axis, keepdim=keep_dims)


@impl("reduce_argmin", moves=True)
def reduce_argmin(x: Tensor, axis: int = -1, *, keep_dims: bool = False, output_dtype: str = "int32") -> Tensor:
    """Return the index of the smallest element, the first of equals."""
    del output_dtype
    return x.argmin(axis, keepdim=keep_dims)
