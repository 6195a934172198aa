"""Gathers and scatters, and what an index out of bounds means.

Up to iOS 16 an index in ``[-size, size)`` counts from either end and any other is an error. From iOS 17 on
only ``[0, size)`` is in bounds, any other index is an error with ``validate_indices``, and without it the
result is undefined but memory-safe. Here, then: a gather does as coremltools' own value inference, a
negative index counting from the end, and clamps one past the end; a scatter drops the update, except that
``scatter_along_axis``, which has a value inference too, counts a negative index from the end.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from harness.interpreter.registry import impl

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from harness.interpreter.context import Context

FIRST_UNCHECKED = 17


def resolve(ctx: Context, indices: Tensor, size: int, *, validate: bool, wraps: bool) -> Tensor:
    """Bring indices into ``[0, size)``, those out of bounds to ``size``.

    Parameters
    ----------
    ctx: tells the program's opset.
    indices: integers of any type and shape.
    size: length of the dimension they index.
    validate: the op's ``validate_indices``.
    wraps: whether a negative index counts from the end although the opset puts it out of bounds.

    Raises
    ------
    IndexError: for an index out of bounds where the opset or the op asks for a check.
    """
    index = indices.long()
    checks_signed = ctx.op.opset < FIRST_UNCHECKED
    low = -size if checks_signed else 0
    if index.numel() and (checks_signed or validate) and (int(index.min()) < low or int(index.max()) >= size):
        raise IndexError(f"indices from {int(index.min())} to {int(index.max())} leave [{low}, {size})")
    if checks_signed or wraps:
        index = torch.where(index < 0, index + size, index)
    return torch.where((index < 0) | (index >= size), size, index)


def _gathered(ctx: Context, indices: Tensor, size: int, *, validate: bool) -> Tensor:
    """Resolve indices that read: one out of bounds reads the last element."""
    return resolve(ctx, indices, size, validate=validate, wraps=True).clamp(max=max(size - 1, 0))


@impl("gather", moves=True)
def gather(
    ctx: Context,
    x: Tensor,
    indices: Tensor,
    axis: int = 0,
    batch_dims: int = 0,
    *,
    validate_indices: bool = False,
) -> Tensor:
    """``x[..., indices, ...]`` along ``axis``, the first ``batch_dims`` dimensions going in step."""
    dim = axis % x.dim()
    index = _gathered(ctx, indices, x.shape[dim], validate=validate_indices)
    if batch_dims == 0:
        taken = x.index_select(dim, index.reshape(-1))
        return taken.reshape(x.shape[:dim] + index.shape + x.shape[dim + 1 :])
    moved = x.movedim(dim, batch_dims)
    taken = moved[(*_batch_index(x, batch_dims, index.dim()), index)]
    before, new = dim - batch_dims, index.dim() - batch_dims
    return taken.movedim(
        tuple(range(batch_dims, batch_dims + new)),
        tuple(range(batch_dims + before, batch_dims + before + new)),
    )


def _batch_index(x: Tensor, batch_dims: int, rank: int) -> tuple[Tensor, ...]:
    """Index the leading dimensions by themselves, shaped to broadcast with an index of that rank."""
    return tuple(
        torch.arange(x.shape[d]).reshape([-1 if i == d else 1 for i in range(rank)]) for d in range(batch_dims)
    )


@impl("gather_along_axis", moves=True)
def gather_along_axis(
    ctx: Context, x: Tensor, indices: Tensor, axis: int = 0, *, validate_indices: bool = False
) -> Tensor:
    """``out[.., i, ..] = x[.., indices[.., i, ..], ..]``; result shaped like ``indices``."""
    dim = axis % x.dim()
    index = _gathered(ctx, indices, x.shape[dim], validate=validate_indices)
    shape = [index.shape[d] if d == dim else max(index.shape[d], x.shape[d]) for d in range(x.dim())]
    return _aligned(x, shape, dim).gather(dim, index.expand(shape))


def _aligned(x: Tensor, shape: list[int], dim: int) -> Tensor:
    return x.expand([x.shape[d] if d == dim else shape[d] for d in range(x.dim())])


@impl("gather_nd", moves=True)
def gather_nd(
    ctx: Context, x: Tensor, indices: Tensor, batch_dims: int = 0, *, validate_indices: bool = False
) -> Tensor:
    """``out[i..] = x[indices[i..]]``: each row of ``indices`` indexes the leading dimensions of ``x``."""
    columns = [
        _gathered(ctx, indices[..., i], x.shape[batch_dims + i], validate=validate_indices)
        for i in range(indices.shape[-1])
    ]
    return x[(*_batch_index(x, batch_dims, indices.dim() - 1), *columns)]


@impl("scatter", moves=True)
def scatter(
    ctx: Context,
    data: Tensor,
    indices: Tensor,
    updates: Tensor,
    axis: int = 0,
    mode: str = "add",
    *,
    validate_indices: bool = False,
) -> Tensor:
    """Combine slice ``i`` of ``updates`` along ``axis`` into slice ``indices[i]`` of ``data``."""
    dim = axis % data.dim()
    index = resolve(ctx, indices, data.shape[dim], validate=validate_indices, wraps=False)
    shape = [1] * dim + [-1] + [1] * (data.dim() - dim - 1)
    return _combine(ctx, data, dim, index.reshape(shape).expand_as(updates), updates, mode)


@impl("scatter_along_axis", moves=True)
def scatter_along_axis(
    ctx: Context,
    data: Tensor,
    indices: Tensor,
    updates: Tensor,
    axis: int = 0,
    mode: str = "add",
    *,
    validate_indices: bool = False,
) -> Tensor:
    """Combine ``updates[.., i, ..]`` into ``data[.., indices[.., i, ..], ..]``."""
    dim = axis % data.dim()
    index = resolve(ctx, indices, data.shape[dim], validate=validate_indices, wraps=True)
    return _combine(ctx, data, dim, index, updates, mode)


@impl("scatter_nd", moves=True)
def scatter_nd(
    ctx: Context,
    data: Tensor,
    indices: Tensor,
    updates: Tensor,
    mode: str = "add",
    *,
    validate_indices: bool = False,
) -> Tensor:
    """Combine ``updates[i..]`` into ``data[indices[i..]]``."""
    depth = indices.shape[-1]
    leading, rest = data.shape[:depth], data.shape[depth:]
    position = torch.zeros(indices.shape[:-1], dtype=torch.long)
    lost = torch.zeros(indices.shape[:-1], dtype=torch.bool)
    for i, size in enumerate(leading):
        column = resolve(ctx, indices[..., i], size, validate=validate_indices, wraps=False)
        position = position * size + column
        lost |= column == size
    position = position.masked_fill(lost, math.prod(leading))
    rows = data.reshape(-1, *rest) if depth else data.reshape(1, *rest)
    flat = updates.reshape(position.numel(), *rest)
    index = position.reshape(-1, *[1] * len(rest)).expand_as(flat)
    return _combine(ctx, rows, 0, index, flat, mode).reshape(data.shape)


_REDUCTIONS = {"add": "sum", "sub": "sum", "mul": "prod", "max": "amax", "min": "amin"}


def _combine(ctx: Context, data: Tensor, dim: int, index: Tensor, updates: Tensor, mode: str) -> Tensor:
    size = data.shape[dim]
    if bool((index == size).any()):  # lost updates land in a row that is cut off again
        spare = torch.zeros_like(data.narrow(dim, 0, 1))
        return _combine(ctx, torch.cat([data, spare, spare], dim), dim, index, updates, mode).narrow(dim, 0, size)
    if mode == "update":
        common = torch.promote_types(data.dtype, updates.dtype)
        return _last_write(data.to(common), dim, index, updates.to(common))
    if mode != "div" and mode not in _REDUCTIONS:
        known = ", ".join(("update", "div", *_REDUCTIONS))
        raise ValueError(f"unknown mode {mode!r}; MIL has {known}")
    wide, change = ctx.policy.widen(data), ctx.policy.widen(updates)
    if mode == "div":
        rounding = None if wide.is_floating_point() else "trunc"
        return _one_by_one(wide, dim, index, change, lambda a, b: torch.div(a, b, rounding_mode=rounding))
    change = -change if mode == "sub" else change
    return wide.scatter_reduce(dim, index, change.to(wide.dtype), _REDUCTIONS[mode], include_self=True)


def _last_write(data: Tensor, dim: int, index: Tensor, updates: Tensor) -> Tensor:
    """Write in order, so that of several updates of one place the last stays; torch promises no order."""
    places = index.sort(dim).values
    if not bool((places.diff(dim=dim) == 0).any()):
        return data.scatter(dim, index, updates)
    return _one_by_one(data, dim, index, updates, lambda _, new: new)


def _one_by_one(
    data: Tensor, dim: int, index: Tensor, updates: Tensor, combine: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    result = data.clone()
    for i in range(index.shape[dim]):
        place = index.narrow(dim, i, 1)
        result.scatter_(dim, place, combine(result.gather(dim, place), updates.narrow(dim, i, 1)))
    return result
