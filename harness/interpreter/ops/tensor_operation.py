"""Ops that make, join, split, sort and pad tensors."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from harness.interpreter import accumulate
from harness.interpreter.registry import impl

if TYPE_CHECKING:
    from torch import Tensor

    from harness.interpreter.context import Context
    from harness.interpreter.registry import Ints, Tensors


@impl("band_part", moves=True)
def band_part(x: Tensor, lower: int = -1, upper: int = -1) -> Tensor:
    """Zero outside the band of ``lower`` sub- and ``upper`` super-diagonals; negative keeps that triangle."""
    rows, columns = x.shape[-2:]
    below = torch.arange(rows)[:, None] - torch.arange(columns)[None, :]
    outside = torch.zeros(rows, columns, dtype=torch.bool)
    if lower >= 0:
        outside |= below > lower
    if upper >= 0:
        outside |= -below > upper
    return x.masked_fill(outside, 0)


@impl("cumsum")
def cumsum(ctx: Context, x: Tensor, axis: int = 0, *, exclusive: bool = False, reverse: bool = False) -> Tensor:
    """Return running sums along ``axis``; ``exclusive`` starts from 0, ``reverse`` from the far end."""
    if x.shape[axis] == 0:
        return x
    source = x.flip(axis) if reverse else x
    narrow = ctx.order is not None and x.is_floating_point()
    sums = accumulate.cumulative(source, axis) if narrow else source.cumsum(axis)
    if exclusive:
        zero = torch.zeros_like(sums.narrow(axis, 0, 1))
        sums = torch.cat([zero, sums.narrow(axis, 0, sums.shape[axis] - 1)], axis)
    return sums.flip(axis) if reverse else sums


@impl("fill", moves=True)
def fill(shape: Ints, value: Tensor | None = None) -> Tensor:
    """Return a tensor of one value, 0.0 by default."""
    return torch.zeros(shape) if value is None else value.reshape(()).expand(shape)


@impl("fill_like", moves=True)
def fill_like(ref_tensor: Tensor, value: Tensor | None = None) -> Tensor:
    """Return a tensor of one value with the shape of another."""
    return fill(tuple(ref_tensor.shape), value)


@impl("non_zero", moves=True)
def non_zero(x: Tensor) -> Tensor:
    """Return the indices of the non-zero elements, a row each, in row-major order."""
    return x.nonzero()


@impl("one_hot", moves=True)
def one_hot(
    indices: Tensor,
    one_hot_vector_size: int,
    axis: int = -1,
    on_value: Tensor | None = None,
    off_value: Tensor | None = None,
) -> Tensor:
    """``on_value`` where the position along the new ``axis`` is the index; a row out of range is all off."""
    dim = axis + indices.dim() + 1 if axis < 0 else axis
    positions = torch.arange(one_hot_vector_size).reshape([-1] + [1] * (indices.dim() - dim))
    hit = indices.unsqueeze(dim) == positions
    on = torch.ones((), dtype=torch.int32) if on_value is None else on_value
    off = torch.zeros((), dtype=on.dtype) if off_value is None else off_value
    return torch.where(hit, on, off)


@impl("pad", moves=True)
def pad(x: Tensor, pad: Ints, mode: str = "constant", constant_val: Tensor | None = None) -> Tensor:
    """Pad the last ``len(pad) / 2`` dimensions by ``(before, after)`` each: constant, reflect or replicate.

    Raises
    ------
    ValueError: for another mode.
    """
    result = x
    first = x.dim() - len(pad) // 2
    if mode == "constant":
        shape = list(x.shape)
        window = [slice(None)] * x.dim()
        for i in range(len(pad) // 2):
            before, after = pad[2 * i], pad[2 * i + 1]
            shape[first + i] += before + after
            window[first + i] = slice(before, before + x.shape[first + i])
        value = 0 if constant_val is None else constant_val.item()
        result = torch.full(shape, value, dtype=x.dtype)
        result[tuple(window)] = x
        return result
    if mode not in ("reflect", "replicate"):
        raise ValueError(f"unknown mode {mode!r}; MIL has constant, reflect and replicate")
    for i in range(len(pad) // 2):
        dim, size = first + i, x.shape[first + i]
        positions = torch.arange(-pad[2 * i], size + pad[2 * i + 1])
        if mode == "replicate":
            positions = positions.clamp(0, size - 1)
        elif size > 1:
            period = 2 * (size - 1)
            positions = positions.remainder(period)
            positions = torch.where(positions < size, positions, period - positions)
        else:
            positions = torch.zeros_like(positions)
        result = result.index_select(dim, positions)
    return result


@impl("range_1d", moves=True)
def range_1d(start: Tensor, end: Tensor, step: Tensor) -> Tensor:
    """``start + i * step`` for every ``i`` that stays short of ``end``."""
    first, last, stride = start.item(), end.item(), step.item()
    count = max(0, math.ceil((last - first) / stride))
    if start.is_floating_point():
        return first + torch.arange(count, dtype=torch.float64) * stride
    return int(first) + torch.arange(count, dtype=torch.int64) * int(stride)


@impl("tile", moves=True)
def tile(x: Tensor, reps: Ints) -> Tensor:
    """``x`` repeated ``reps[i]`` times along each dimension."""
    return x.repeat(reps)


@impl("argsort", moves=True)
def argsort(x: Tensor, axis: int = -1, *, ascending: bool = False) -> Tensor:
    """Return the indices that sort ``axis``, descending by default; equals keep their order."""
    return _order(x, axis, ascending=ascending)


def _order(x: Tensor, axis: int, *, ascending: bool) -> Tensor:
    """Return what sorts ``axis``, NaN last in either direction, as numpy has it; torch calls NaN the largest."""
    if ascending or not x.is_floating_point():
        return x.argsort(dim=axis, descending=not ascending, stable=True)
    return (-x).argsort(dim=axis, stable=True)


@impl("topk", moves=True)
def topk(
    x: Tensor,
    k: int = 1,
    axis: int = -1,
    *,
    ascending: bool = False,
    sort: bool = True,
    return_indices: bool = True,
    output_indices_dtype: str = "int32",
) -> Tensor | tuple[Tensor, Tensor]:
    """Return the ``k`` largest (or smallest) along ``axis``, and where they were; -1 takes all."""
    del sort, output_indices_dtype  # sorted is one order of "no particular order"; the type is declared
    count = x.shape[axis] if k == -1 else k
    if count > x.shape[axis]:
        raise ValueError(f"k = {count} exceeds the {x.shape[axis]} elements of axis {axis}")
    order = _order(x, axis, ascending=ascending).narrow(axis, 0, count)
    values = x.gather(axis, order)
    return (values, order) if return_indices else values


@impl("shape", moves=True)
def shape(x: Tensor) -> Tensor:
    """Return the dimensions of ``x``."""
    return torch.tensor(x.shape, dtype=torch.int32)


@impl("concat", moves=True)
def concat(values: Tensors, axis: int, *, interleave: bool = False) -> Tensor:
    """Join along ``axis``; interleaved, element ``i`` of every tensor stands together."""
    if not values[0].dim():
        return torch.stack(values)
    if interleave:
        dim = axis % values[0].dim()
        return torch.stack(values, dim + 1).flatten(dim, dim + 1)
    return torch.cat(values, axis)


@impl("split", moves=True)
def split(
    ctx: Context, x: Tensor, axis: int, num_splits: int | None = None, split_sizes: Ints | None = None
) -> tuple[Tensor, ...]:
    """Cut ``axis`` into pieces of the given sizes, or into equal ones.

    Raises
    ------
    ValueError: when equal pieces do not fit, or neither is given.
    """
    if split_sizes is None:
        if not num_splits or x.shape[axis] % num_splits:
            raise ValueError(f"cannot split {x.shape[axis]} elements into {num_splits} equal pieces")
        split_sizes = (x.shape[axis] // num_splits,) * num_splits
    pieces = torch.split(x, list(split_sizes), axis)
    if ctx.engine is not None and ctx.engine.pessimistic and axis % x.dim() == x.dim() - 1:
        return (pieces[0], *map(ctx.sliced, pieces[1:]))
    return pieces


@impl("stack", moves=True)
def stack(values: Tensors, axis: int) -> Tensor:
    """Join along a new ``axis``."""
    return torch.stack(values, axis)
