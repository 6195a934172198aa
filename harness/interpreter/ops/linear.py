"""Matrix products. A weight narrower than the compute type is widened a slab of rows at a time.

That keeps a model's float16 weights from ever existing in float32 as a whole. The slab's memory is kept for
the next one: fresh pages cost as much as the widening itself.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from harness.interpreter.registry import impl

if TYPE_CHECKING:
    from torch import Tensor

    from harness.interpreter.context import Context
    from harness.interpreter.registry import Tensors

SLAB = 1 << 23
"""Elements of a weight widened at a time: 32 MB of float32, enough for threads to have work."""

_scratch = threading.local()


@impl("linear", moves=True)
def linear(ctx: Context, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x @ weight.T + bias``; weight ``[D_out, D_in]``."""
    if not x.is_floating_point():
        product = torch.matmul(x, weight.T)
        return product if bias is None else product + bias
    wide = ctx.policy.widen(x)
    offset = None if bias is None else ctx.policy.widen(bias)
    if ctx.order:
        product = ctx.matmul(wide.reshape(-1, x.shape[-1]), ctx.policy.widen(weight).T)
        product = product.reshape(*x.shape[:-1], weight.shape[0])
        return product if offset is None else product + offset
    return ctx.product(_linear, ctx.operand(wide), weight, offset)


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return functional.linear(x, weight, bias) if weight.dtype == x.dtype else _by_slabs(x, weight, bias)


def _by_slabs(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    rows = x.reshape(-1, x.shape[-1])
    result = rows.new_empty(rows.shape[0], weight.shape[0])
    step = max(1, SLAB // max(1, weight.shape[1]))
    for start in range(0, weight.shape[0], step):
        part = weight[start : start + step]
        slab = _slab(part.numel(), x.dtype).view(part.shape).copy_(part)
        torch.mm(rows, slab.T, out=result[:, start : start + step])
    if bias is not None:
        result += bias
    return result.reshape(*x.shape[:-1], weight.shape[0])


def _slab(count: int, dtype: torch.dtype) -> Tensor:
    """Return this thread's scratch memory; rows longer than a slab get memory of their own."""
    if count > SLAB:
        return torch.empty(count, dtype=dtype)
    kept = getattr(_scratch, "memory", None)
    if kept is None or kept.dtype != dtype or kept.numel() < count:
        _scratch.memory = torch.empty(count, dtype=dtype)
    memory: Tensor = _scratch.memory
    return memory[:count]


@impl("matmul")
def matmul(ctx: Context, x: Tensor, y: Tensor, *, transpose_x: bool = False, transpose_y: bool = False) -> Tensor:
    """``x @ y``, batch dimensions broadcast; a vector is a row on the left and a column on the right."""
    if x.is_floating_point() != y.is_floating_point():  # a constant of another type, from iOS 17 on
        x, y = x.to(ctx.policy.compute_dtype), y.to(ctx.policy.compute_dtype)
    left = x[None, :] if x.dim() == 1 else x.mT if transpose_x else x
    right = y[:, None] if y.dim() == 1 else y.mT if transpose_y else y
    product = ctx.matmul(left, right)
    if y.dim() == 1:
        product = product.squeeze(-1)
    if x.dim() == 1:
        product = product.squeeze(-1 if y.dim() == 1 else -2)
    return product


@impl("einsum")
def einsum(ctx: Context, values: Tensors, equation: str) -> Tensor:
    """``[..., C, H, W1] x [..., W1, H, W2] -> [..., C, H, W2]``, MIL's one equation under any letters."""
    x, y = values
    if ctx.order is None:
        spelled = _broadcastable(equation, x, y)
        return ctx.product(lambda left, right, _: torch.einsum(spelled, left, right), ctx.operand(x), ctx.operand(y))
    return ctx.matmul(x.transpose(-3, -2), y.transpose(-3, -2)).transpose(-3, -2)


def _broadcastable(equation: str, x: Tensor, y: Tensor) -> str:
    """Check that the equation has a letter a dimension; torch broadcasts those of length 1 itself."""
    left = equation.replace(" ", "").split("->")[0].split(",")
    if [len(term) for term in left] != [x.dim(), y.dim()]:
        raise ValueError(f"equation {equation!r} does not fit ranks {x.dim()} and {y.dim()}")
    return equation
