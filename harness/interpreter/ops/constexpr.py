"""Compressed weights: affine and blockwise quantised, palettised (look-up tables), sparse, and combinations.

They are evaluated like any op, when first used and freed after their last use, so a compressed model is never
whole in its uncompressed form. The arithmetic runs in the compute type, a slab of rows at a time, and is
rounded once to the declared type. Blocks: dimension ``i`` of the data falls into ``scale.shape[i]`` (or
``lut.shape[i]``) equal runs, each with a scale (or table) of its own.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from harness.interpreter.blobs import unpack
from harness.interpreter.registry import impl

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from harness.interpreter.context import Context
    from harness.interpreter.registry import Ints

SLAB = 1 << 22
"""Elements decompressed at a time."""


def _by_slabs(ctx: Context, shape: Ints, block_rows: int, rows: Callable[[int, int], Tensor]) -> Tensor:
    """Fill a tensor of the declared type by ``rows(start, stop)``, whole blocks of rows at a time."""
    declared = ctx.op.outputs[-1].type.dtype
    result = torch.empty(shape, dtype=ctx.policy.stored_dtype(declared))
    per_row = max(1, math.prod(shape[1:]))
    step = max(1, SLAB // per_row // block_rows) * block_rows
    for start in range(0, shape[0], step):
        result[start : start + step] = ctx.policy.stored(rows(start, min(start + step, shape[0])), declared)
    return result


def _blocked(data: Tensor, counts: Ints) -> Tensor:
    """View every dimension as (blocks, elements of a block)."""
    return data.reshape([n for size, count in zip(data.shape, counts, strict=True) for n in (count, size // count)])


def _spread(values: Tensor) -> Tensor:
    """Give values one a block the shape that broadcasts over ``_blocked`` data."""
    return values.reshape([n for size in values.shape for n in (size, 1)])


def shift_scale(ctx: Context, data: Tensor, scale: Tensor, offset: Tensor | None) -> Tensor:
    """Return ``scale * (data - offset)``, scale and offset one a block."""
    wide = ctx.policy.compute_dtype
    block = data.shape[0] // scale.shape[0] if scale.shape[0] else 1

    def rows(start: int, stop: int) -> Tensor:
        few = slice(start // block, max(stop // block, start // block + 1))
        part = data[start:stop]
        blocks = _blocked(part, (few.stop - few.start, *scale.shape[1:])).to(wide)
        if offset is not None:
            blocks = blocks - _spread(offset[few].to(wide))
        return (blocks * _spread(scale[few].to(wide))).reshape(part.shape)

    return _by_slabs(ctx, tuple(data.shape), max(1, block), rows)


def look_up(ctx: Context, indices: Tensor, lut: Tensor, vector_axis: int | None) -> Tensor:
    """Replace every index by its entry in its block's table; longer entries lie along ``vector_axis``."""
    counts, palettes, length = tuple(lut.shape[:-2]), lut.shape[-2], lut.shape[-1]
    entries = lut.reshape(-1, length)
    block = indices.shape[0] // counts[0]
    tables = torch.arange(math.prod(counts), dtype=torch.int32).reshape(counts) * palettes

    def rows(start: int, stop: int) -> Tensor:
        few = slice(start // block, max(stop // block, start // block + 1))
        part = indices[start:stop]
        places = _blocked(part, (few.stop - few.start, *counts[1:])).to(torch.int32) + _spread(tables[few])
        return entries.index_select(0, places.reshape(-1)).reshape(*part.shape, length)

    if length == 1:
        return _by_slabs(ctx, tuple(indices.shape), block, lambda start, stop: rows(start, stop).squeeze(-1))
    axis = (vector_axis or 0) % indices.dim()
    return rows(0, indices.shape[0]).movedim(-1, axis + 1).flatten(axis, axis + 1)


def to_dense(nonzero_data: Tensor, mask: Tensor) -> Tensor:
    """Spread the values over the true places of a mask, in row-major order, zeros elsewhere."""
    dense = torch.zeros(mask.shape, dtype=nonzero_data.dtype)
    return dense.masked_scatter(mask.bool(), nonzero_data)


@impl("constexpr_affine_dequantize", since=16, moves=True)
def constexpr_affine_dequantize(
    ctx: Context, quantized_data: Tensor, zero_point: Tensor, scale: Tensor, axis: int
) -> Tensor:
    """Return ``scale * (quantized_data - zero_point)``, one scale in all or one per index of ``axis``."""
    count = max(scale.numel(), zero_point.numel())
    shape = [1] * quantized_data.dim()
    shape[axis] = count
    scales, offsets = (values.reshape(-1).expand(count).reshape(shape) for values in (scale, zero_point))
    return shift_scale(ctx, quantized_data, scales, offsets)


@impl("constexpr_cast", since=16, moves=True)
def constexpr_cast(source_val: Tensor, output_dtype: str) -> Tensor:
    """Return the value in the declared type."""
    del output_dtype
    return source_val


@impl("constexpr_lut_to_dense", since=16, moves=True)
def constexpr_lut_to_dense(ctx: Context, indices: Tensor, lut: Tensor, shape: Ints) -> Tensor:
    """Return the entries of one table for indices packed into bytes."""
    bits = int(math.log2(lut.numel()))
    fields = torch.from_numpy(unpack(indices.numpy(), bits, math.prod(shape)))
    return look_up(ctx, fields.reshape(shape), lut.reshape(*[1] * len(shape), -1, 1), None)


@impl("constexpr_lut_to_dense", since=18, moves=True)
def constexpr_blockwise_lut_to_dense(
    ctx: Context, indices: Tensor, lut: Tensor, vector_axis: int | None = None
) -> Tensor:
    """Return the entries of the blocks' tables."""
    return look_up(ctx, indices, lut, vector_axis)


@impl("constexpr_sparse_to_dense", since=16, moves=True)
def constexpr_packed_sparse_to_dense(nonzero_data: Tensor, mask: Tensor, shape: Ints) -> Tensor:
    """Return values at the set bits of a packed mask, zeros elsewhere."""
    bits = torch.from_numpy(unpack(mask.numpy(), 1, math.prod(shape)))
    return to_dense(nonzero_data, bits.reshape(shape))


@impl("constexpr_sparse_to_dense", since=18, moves=True)
def constexpr_sparse_to_dense(nonzero_data: Tensor, mask: Tensor) -> Tensor:
    """Return values where the mask is 1, zeros elsewhere."""
    return to_dense(nonzero_data, mask)


@impl("constexpr_blockwise_shift_scale", since=18, moves=True)
def constexpr_blockwise_shift_scale(ctx: Context, data: Tensor, scale: Tensor, offset: Tensor | None = None) -> Tensor:
    """Return ``scale * (data - offset)`` by blocks."""
    return shift_scale(ctx, data, scale, offset)


@impl("constexpr_lut_to_sparse", since=18, moves=True)
def constexpr_lut_to_sparse(
    ctx: Context,
    indices_mask: Tensor,
    indices_nonzero_data: Tensor,
    lut: Tensor,
    vector_axis: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the mask and the non-zero values of palettised sparse data."""
    dense = look_up(ctx, to_dense(indices_nonzero_data, indices_mask), lut, vector_axis)
    mask = indices_mask
    if vector_axis is not None:
        mask = mask.repeat_interleave(lut.shape[-1], vector_axis)
    return mask, dense[mask.bool()]


@impl("constexpr_sparse_blockwise_shift_scale", since=18, moves=True)
def constexpr_sparse_blockwise_shift_scale(
    ctx: Context, data_mask: Tensor, nonzero_data: Tensor, scale: Tensor, offset: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return the mask and the non-zero values of quantised sparse data."""
    dense = shift_scale(ctx, to_dense(nonzero_data, data_mask), scale, offset)
    return data_mask, dense[data_mask.bool()]
