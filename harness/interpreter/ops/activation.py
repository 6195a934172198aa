"""Activation functions. ``softmax`` subtracts the row's maximum first, as every runtime does."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from harness.interpreter import engine_arithmetic
from harness.interpreter.registry import impl

if TYPE_CHECKING:
    from torch import Tensor

    from harness.interpreter.context import Context


@impl("clamped_relu")
def clamped_relu(x: Tensor, alpha: float, beta: float) -> Tensor:
    """``min(beta, x if x >= 0 else alpha * x)``."""
    return torch.where(x >= 0, x, alpha * x).clamp(max=beta)


@impl("elu")
def elu(x: Tensor, alpha: float) -> Tensor:
    """``x if x > 0 else alpha * (e ** x - 1)``."""
    return torch.where(x > 0, x, alpha * torch.expm1(x))


@impl("gelu")
def gelu(x: Tensor, mode: str = "EXACT") -> Tensor:
    """``x * Phi(x)``, exactly or through tanh or the sigmoid.

    Raises
    ------
    ValueError: for a mode MIL does not define.
    """
    if mode == "EXACT":
        return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))
    if mode == "TANH_APPROXIMATION":
        return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    if mode == "SIGMOID_APPROXIMATION":
        return x * torch.sigmoid(1.702 * x)
    raise ValueError(f"unknown mode {mode!r}; MIL has EXACT, TANH_APPROXIMATION, SIGMOID_APPROXIMATION")


@impl("leaky_relu")
def leaky_relu(x: Tensor, alpha: float) -> Tensor:
    """``x if x >= 0 else alpha * x``."""
    return torch.where(x >= 0, x, alpha * x)


@impl("linear_activation")
def linear_activation(x: Tensor, alpha: float, beta: float) -> Tensor:
    """``alpha * x + beta``."""
    return alpha * x + beta


@impl("prelu")
def prelu(x: Tensor, alpha: Tensor) -> Tensor:
    """``x if x > 0 else alpha[c] * x``, channels on axis 1."""
    return torch.where(x > 0, x, _per_channel(alpha, x) * x)


@impl("relu")
def relu(x: Tensor) -> Tensor:
    """``max(x, 0)``."""
    return x.clamp(min=0)


@impl("relu6")
def relu6(x: Tensor) -> Tensor:
    """``min(max(x, 0), 6)``."""
    return x.clamp(0, 6)


@impl("scaled_tanh")
def scaled_tanh(x: Tensor, alpha: float, beta: float) -> Tensor:
    """``alpha * tanh(beta * x)``."""
    return alpha * torch.tanh(beta * x)


@impl("sigmoid")
def sigmoid(ctx: Context, x: Tensor) -> Tensor:
    """``1 / (1 + e ** -x)``."""
    return x.sigmoid() if ctx.engine is None else engine_arithmetic.sigmoid(ctx.engine, x)


@impl("sigmoid_hard")
def sigmoid_hard(x: Tensor, alpha: float, beta: float) -> Tensor:
    """``min(max(alpha * x + beta, 0), 1)``."""
    return (alpha * x + beta).clamp(0, 1)


@impl("silu")
def silu(x: Tensor) -> Tensor:
    """``x * sigmoid(x)``."""
    return functional.silu(x)


@impl("softplus")
def softplus(ctx: Context, x: Tensor) -> Tensor:
    """``ln(1 + e ** x)``; the Neural Engine's table gives 0 for +inf."""
    result = torch.logaddexp(x, torch.zeros_like(x))
    return result if ctx.engine is None else torch.where(x == torch.inf, 0.0, result)


@impl("softplus_parametric")
def softplus_parametric(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    """``alpha[c] * ln(1 + e ** (beta[c] * x))``, channels on axis 1."""
    scaled = _per_channel(beta, x) * x
    return _per_channel(alpha, x) * torch.logaddexp(scaled, torch.zeros_like(scaled))


@impl("softmax")
def softmax(ctx: Context, x: Tensor, axis: int = -1) -> Tensor:
    """``e ** x / sum(e ** x)`` along ``axis``."""
    return ctx.softmax(x, axis)


@impl("softsign")
def softsign(x: Tensor) -> Tensor:
    """``x / (1 + |x|)``."""
    return functional.softsign(x)


@impl("thresholded_relu")
def thresholded_relu(x: Tensor, alpha: float) -> Tensor:
    """``0 if x < alpha else x``, so that NaN stays."""
    return torch.where(x < alpha, torch.zeros_like(x), x)


def _per_channel(values: Tensor, x: Tensor) -> Tensor:
    return values.reshape(1, -1, *([1] * (x.dim() - 2)))
