"""Normalisations. Each is one op: statistics and result stay in the compute type until the one rounding.

The sums (of the elements for a mean, of the squares for a variance) go through the context, so a policy can
accumulate them in float16; everything else is computed wide.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn import functional

from harness.interpreter.registry import impl

if TYPE_CHECKING:
    from torch import Tensor

    from harness.interpreter.context import Context
    from harness.interpreter.registry import Ints


@impl("batch_norm")
def batch_norm(
    ctx: Context,
    x: Tensor,
    mean: Tensor,
    variance: Tensor,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    epsilon: float = 1e-5,
) -> Tensor:
    """``gamma * (x - mean) / sqrt(variance + epsilon) + beta``, channels on axis 1."""
    normalized = (x - _per_channel(mean, x)) / (_per_channel(variance, x) + ctx.norm_epsilon(epsilon)).sqrt()
    return _affine(normalized, _optional_channel(gamma, x), _optional_channel(beta, x))


@impl("instance_norm")
def instance_norm(
    ctx: Context, x: Tensor, gamma: Tensor | None = None, beta: Tensor | None = None, epsilon: float = 1e-5
) -> Tensor:
    """``gamma * (x - E[x]) / sqrt(Var[x] + epsilon) + beta`` over the axes after the channel."""
    normalized = _standardized(ctx, x, tuple(range(2, x.dim())), epsilon)
    return _affine(normalized, _optional_channel(gamma, x), _optional_channel(beta, x))


@impl("l2_norm")
def l2_norm(ctx: Context, x: Tensor, epsilon: float = 1e-6) -> Tensor:
    """``x / sqrt(sum(x * x) + epsilon)`` over the last three axes."""
    return x / (ctx.sum(x * x, (-3, -2, -1)) + ctx.norm_epsilon(epsilon)).sqrt()


@impl("layer_norm")
def layer_norm(
    ctx: Context,
    x: Tensor,
    axes: Ints | None = None,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    epsilon: float = 1e-5,
) -> Tensor:
    """``gamma * (x - E[x]) / sqrt(Var[x] + epsilon) + beta`` over ``axes``; biased variance."""
    dims = tuple(range(x.dim())) if axes is None else tuple(sorted(axis % x.dim() for axis in axes))
    shape = [x.shape[d] if d in dims else 1 for d in range(x.dim())]
    scale = None if gamma is None else gamma.reshape(shape)
    offset = None if beta is None else beta.reshape(shape)
    return _affine(_standardized(ctx, x, dims, epsilon), scale, offset)


@impl("local_response_norm")
def local_response_norm(
    ctx: Context, x: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    """``x / (k + alpha / size * sum(x_j ** 2)) ** beta`` over ``size`` neighbouring channels."""
    before = size // 2
    padding = [0, 0] * (x.dim() - 2) + [before, size - 1 - before]
    windows = functional.pad(x * x, padding).unfold(1, size, 1)
    return x / (k + alpha / size * ctx.sum(windows, (-1,)).squeeze(-1)) ** beta


@impl("ane_rms_norm")
def ane_rms_norm(
    ctx: Context, x: Tensor, gamma: Tensor | None = None, epsilon: float = 1e-5, axes: Ints = (-1,)
) -> Tensor:
    """``x / sqrt(mean(x * x) + epsilon) * gamma`` over ``axes``: the dialect op, one rounding."""
    dims = tuple(sorted(axis % x.dim() for axis in axes))
    normalized = x / (ctx.mean(x * x, dims) + ctx.norm_epsilon(epsilon)).sqrt()
    if gamma is None:
        return normalized
    return normalized * gamma.reshape([x.shape[d] if d in dims else 1 for d in range(x.dim())])


def _standardized(ctx: Context, x: Tensor, dims: Ints, epsilon: float) -> Tensor:
    centred = x - ctx.mean(x, dims)
    return centred / (ctx.mean(centred * centred, dims) + ctx.norm_epsilon(epsilon)).sqrt()


def _affine(x: Tensor, scale: Tensor | None, offset: Tensor | None) -> Tensor:
    scaled = x if scale is None else x * scale
    return scaled if offset is None else scaled + offset


def _per_channel(values: Tensor, x: Tensor) -> Tensor:
    return values.reshape(1, -1, *([1] * (x.dim() - 2)))


def _optional_channel(values: Tensor | None, x: Tensor) -> Tensor | None:
    return None if values is None else _per_channel(values, x)
