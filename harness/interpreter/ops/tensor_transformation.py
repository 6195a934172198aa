"""Ops that rearrange elements without computing: reshape, transpose, slices, space and depth."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from harness.interpreter.registry import impl
from harness.interpreter.windows import Window

if TYPE_CHECKING:
    from torch import Tensor

    from harness.interpreter.context import Context
    from harness.interpreter.registry import Bools, Ints, Tensors


@impl("reshape", moves=True)
def reshape(x: Tensor, shape: Ints) -> Tensor:
    """Reshape; 0 keeps the dimension of that index, -1 takes what is left.

    Raises
    ------
    ValueError: when 0 is used with a shape of another rank.
    """
    if 0 in shape and x.numel() and len(shape) != x.dim():
        raise ValueError(f"a 0 in shape {list(shape)} needs an x of that rank, not {list(x.shape)}")
    target = [x.shape[i] if n == 0 and i < x.dim() else n for i, n in enumerate(shape)]
    return _reshaped(x, target)


@impl("reshape", since=17, moves=True)
def reshape_from_the_right(x: Tensor, shape: Ints) -> Tensor:
    """Reshape; 0 keeps the dimension at that distance from the right (1 where there is none)."""
    shift = len(shape) - x.dim()
    target = [(x.shape[i - shift] if i >= shift else 1) if n == 0 else n for i, n in enumerate(shape)]
    return _reshaped(x, target)


def _reshaped(x: Tensor, target: list[int]) -> Tensor:
    if x.numel() == 0:  # torch calls a -1 beside a 0 ambiguous
        target = [max(n, 0) for n in target]
    return x.reshape(target)


@impl("reshape_like", moves=True)
def reshape_like(x: Tensor, ref_tensors: Tensors, begins: Ints, ends: Ints, end_masks: Bools) -> Tensor:
    """Reshape to the joined slices ``ref.shape[begin:end]`` (to the end where masked)."""
    target: list[int] = []
    for ref, begin, end, to_end in zip(ref_tensors, begins, ends, end_masks, strict=True):
        target += ref.shape[begin:] if to_end else ref.shape[begin:end]
    return x.reshape(target)


@impl("expand_dims", moves=True)
def expand_dims(x: Tensor, axes: Ints) -> Tensor:
    """Insert dimensions of length 1; axes count in the result."""
    rank = x.dim() + len(axes)
    result = x
    for axis in sorted(axis % rank for axis in axes):
        result = result.unsqueeze(axis)
    return result


@impl("squeeze", moves=True)
def squeeze(x: Tensor, axes: Ints | None = None) -> Tensor:
    """Remove dimensions of length 1: those given (others stay) or all."""
    return x.squeeze() if axes is None else x.squeeze(axes) if axes else x


@impl("transpose", moves=True)
def transpose(x: Tensor, perm: Ints) -> Tensor:
    """Permute dimensions."""
    return x.permute(perm)


@impl("reverse", moves=True)
def reverse(x: Tensor, axes: Ints | None = None) -> Tensor:
    """Reverse the given axes, or all."""
    return x.flip(tuple(range(x.dim())) if axes is None else axes)


@impl("reverse_sequence", moves=True)
def reverse_sequence(x: Tensor, lengths: Ints, seq_axis: int = 0, batch_axis: int = 0) -> Tensor:
    """Reverse the first ``lengths[i]`` elements of ``seq_axis`` in batch entry ``i``."""
    moved = x.movedim((batch_axis, seq_axis), (0, 1)).clone()
    for row, length in zip(moved, lengths, strict=True):
        row[:length] = row[:length].flip(0)
    return moved.movedim((0, 1), (batch_axis, seq_axis))


@impl("flatten2d", moves=True)
def flatten2d(x: Tensor, axis: int = 1) -> Tensor:
    """``[prod(shape[:axis]), prod(shape[axis:])]``."""
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


@impl("slice_by_index", moves=True)
def slice_by_index(
    ctx: Context,
    x: Tensor,
    begin: Ints,
    end: Ints,
    stride: Ints | None = None,
    begin_mask: Bools | None = None,
    end_mask: Bools | None = None,
    squeeze_mask: Bools | None = None,
) -> Tensor:
    """``x[begin:end:stride, ...]`` with numpy's rules; masks leave a bound open or pick one index."""
    window = Window.of(x, begin, end, stride, begin_mask, end_mask, squeeze_mask)
    result = x[window.slices].flip(window.flipped).squeeze(window.squeezed)
    return ctx.sliced(result) if window.begins_past_zero() else result


@impl("slice_update", moves=True)
def slice_update(
    x: Tensor,
    update: Tensor,
    begin: Ints,
    end: Ints,
    stride: Ints | None = None,
    begin_mask: Bools | None = None,
    end_mask: Bools | None = None,
    squeeze_mask: Bools | None = None,
) -> Tensor:
    """Return a copy of ``x`` whose slice (as in ``slice_by_index``) is ``update``."""
    window = Window.of(x, begin, end, stride, begin_mask, end_mask, squeeze_mask)
    result = x.to(torch.promote_types(x.dtype, update.dtype), copy=True)
    target = result[window.slices]
    target.copy_(update.reshape(target.shape).flip(window.flipped))
    return result


@impl("slice_by_size", moves=True)
def slice_by_size(ctx: Context, x: Tensor, begin: Ints, size: Ints) -> Tensor:
    """``x[begin : begin + size, ...]``; size -1 runs to the end."""
    index = []
    for first, count, length in zip(begin, size, x.shape, strict=True):
        start = first + length if first < 0 else first
        index.append(slice(start, length if count == -1 else start + count))
    result = x[tuple(index)]
    return ctx.sliced(result) if index and index[-1].start > 0 else result


@impl("sliding_windows", moves=True)
def sliding_windows(x: Tensor, axis: int, size: int, stride: int = 1) -> Tensor:
    """Every window of ``size`` along ``axis``, as a new dimension after it."""
    dim = axis % x.dim()
    return x.unfold(dim, size, stride).movedim(-1, dim + 1)


@impl("depth_to_space", moves=True)
def depth_to_space(x: Tensor, block_size: int) -> Tensor:
    """``[n, C, H, W] -> [n, C / b^2, H b, W b]``, the block outermost in depth (TensorFlow's order)."""
    n, c, h, w = x.shape
    b = block_size
    split = x.reshape(n, b, b, c // (b * b), h, w)
    return split.permute(0, 3, 4, 1, 5, 2).reshape(n, c // (b * b), h * b, w * b)


@impl("space_to_depth", moves=True)
def space_to_depth(x: Tensor, block_size: int) -> Tensor:
    """``[n, C, H, W] -> [n, C b^2, H / b, W / b]``, the block outermost in depth (TensorFlow's order)."""
    n, c, h, w = x.shape
    b = block_size
    split = x.reshape(n, c, h // b, b, w // b, b)
    return split.permute(0, 3, 5, 1, 2, 4).reshape(n, c * b * b, h // b, w // b)


@impl("pixel_shuffle", moves=True)
def pixel_shuffle(x: Tensor, upscale_factor: int) -> Tensor:
    """``[n, C f^2, H, W] -> [n, C, H f, W f]``, channels outermost (PyTorch's order)."""
    return functional.pixel_shuffle(x, upscale_factor)


@impl("pixel_unshuffle", moves=True)
def pixel_unshuffle(x: Tensor, downscale_factor: int) -> Tensor:
    """``[n, C, H, W] -> [n, C f^2, H / f, W / f]``, channels outermost (PyTorch's order)."""
    return functional.pixel_unshuffle(x, downscale_factor)


@impl("space_to_batch", moves=True)
def space_to_batch(x: Tensor, block_shape: Ints, paddings: Ints) -> Tensor:
    """Pad with zeros, then move blocks of space into the batch, the block outermost."""
    top, bottom, left, right = paddings
    padded = functional.pad(x, (left, right, top, bottom))
    n, c, h, w = padded.shape
    bh, bw = block_shape
    split = padded.reshape(n, c, h // bh, bh, w // bw, bw)
    return split.permute(3, 5, 0, 1, 2, 4).reshape(n * bh * bw, c, h // bh, w // bw)


@impl("batch_to_space", moves=True)
def batch_to_space(x: Tensor, block_shape: Ints, crops: Ints) -> Tensor:
    """Move blocks of the batch, the block outermost, into space, then crop."""
    top, bottom, left, right = crops
    n, c, h, w = x.shape
    bh, bw = block_shape
    split = x.reshape(bh, bw, n // (bh * bw), c, h, w)
    merged = split.permute(2, 3, 4, 0, 5, 1).reshape(n // (bh * bw), c, h * bh, w * bw)
    return merged[:, :, top : h * bh - bottom, left : w * bw - right]


@impl("identity", moves=True)
def identity(x: Tensor) -> Tensor:
    """``x`` under another name."""
    return x
