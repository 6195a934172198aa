"""Gathers and scatters.

Indices outside ``[-size, size)`` are an error up to iOS 16. From iOS 17 they are an error only with
``validate_indices`` (negative ones then too); without it MIL leaves the result undefined but memory-safe.
Here a negative index then counts from the end, as coremltools' own value inference has it, and one past the
end is clamped to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from harness.interpreter.registry import Context, impl

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

FIRST_UNCHECKED = 17


def checked(ctx: Context, indices: Tensor, size: int, validate: bool) -> Tensor:  # noqa: FBT001 - MIL's flag
    """Bring indices into ``[0, size)`` as the program's opset has it.

    Raises
    ------
    IndexError: for an index out of bounds where the opset or the op asks for a check.
    """
    index = indices.long()
    if not index.numel():
        return index
    strict = ctx.op.opset < FIRST_UNCHECKED
    low = -size if strict else 0
    if (strict or validate) and (int(index.min()) < low or int(index.max()) >= size):
        raise IndexError(f"indices from {int(index.min())} to {int(index.max())} leave [{low}, {size})")
    return torch.where(index < 0, index + size, index).clamp(0, max(size - 1, 0))


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
    index = checked(ctx, indices, x.shape[dim], validate_indices)
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
        torch.arange(x.shape[d]).reshape([-1 if i == d else 1 for i in range(rank)])
        for d in range(batch_dims)
    )


@impl("gather_along_axis", moves=True)
def gather_along_axis(
    ctx: Context, x: Tensor, indices: Tensor, axis: int = 0, *, validate_indices: bool = False
) -> Tensor:
    """``out[.., i, ..] = x[.., indices[.., i, ..], ..]``; result shaped like ``indices``."""
    dim = axis % x.dim()
    index = checked(ctx, indices, x.shape[dim], validate_indices)
    shape = [index.shape[d] if d == dim else max(index.shape[d], x.shape[d]) for d in range(x.dim())]
    return _aligned(x, shape, dim).gather(dim, index.expand(shape))


def _aligned(x: Tensor, shape: list[int], dim: int) -> Tensor:
    return x.expand([x.shape[d] if d == dim else shape[d] for d in range(x.dim())])


@impl("gather_nd", moves=True)
def gather_nd(
    ctx: Context, x: Tensor, indices: Tensor, batch_dims: int = 0, *, validate_indices: bool = False
) -> Tensor:
    """``out[i..] = x[indices[i..]]``: each row of ``indices`` indexes the leading dimensions of ``x``."""
    return x[_nd_index(ctx, x, indices, batch_dims, validate=validate_indices)]


def _nd_index(
    ctx: Context, x: Tensor, indices: Tensor, batch_dims: int, *, validate: bool
) -> tuple[Tensor, ...]:
    columns = [
        checked(ctx, indices[..., i], x.shape[batch_dims + i], validate) for i in range(indices.shape[-1])
    ]
    return (*_batch_index(x, batch_dims, indices.dim() - 1), *columns)


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
    index = checked(ctx, indices, data.shape[dim], validate_indices)
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
    index = checked(ctx, indices, data.shape[dim], validate_indices)
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
    columns = _nd_index(ctx, data, indices, 0, validate=validate_indices)
    leading, rest = data.shape[:depth], data.shape[depth:]
    position = torch.zeros(indices.shape[:-1], dtype=torch.long)
    for column, size in zip(columns, leading, strict=True):
        position = position * size + column
    rows = data.reshape(-1, *rest) if depth else data.reshape(1, *rest)
    flat = updates.reshape(position.numel(), *rest)
    index = position.reshape(-1, *[1] * len(rest)).expand_as(flat)
    return _combine(ctx, rows, 0, index, flat, mode).reshape(data.shape)


_REDUCTIONS = {"add": "sum", "sub": "sum", "mul": "prod", "max": "amax", "min": "amin"}


def _combine(ctx: Context, data: Tensor, dim: int, index: Tensor, updates: Tensor, mode: str) -> Tensor:
    if mode == "update":
        return _last_write(data, dim, index, updates.to(data.dtype))
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
