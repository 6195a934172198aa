"""Four ways in which PyTorch models write RMSNorm by hand, for the examples.

Weights are seeded around 1: with weights of exactly 1, the multiplication would be dropped as a no-op.
"""

from __future__ import annotations

import torch
from torch import nn


def seeded_weight(dim: int) -> nn.Parameter:
    """Return a weight of shape (dim,) between 0.5 and 1.5."""
    values = torch.rand(dim, generator=torch.Generator().manual_seed(0))
    return nn.Parameter(values + 0.5, requires_grad=False)


class EpsilonOutside(nn.Module):
    """``gamma * x / (rms(x) + eps)``: epsilon stands outside the root, so this is not exactly an RMSNorm."""

    def __init__(self, dim: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps
        self.weight = seeded_weight(dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise the last axis of x, shape (..., dim)."""
        length = x.norm(dtype=torch.float32, dim=-1, keepdim=True)
        return self.weight * (x / (length * x.shape[-1] ** -0.5 + self.eps))


class MeanAndRoot(nn.Module):
    """``gamma * x / sqrt(mean(x * x) + eps)``."""

    def __init__(self, dim: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps
        self.weight = seeded_weight(dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise the last axis of x, shape (..., dim)."""
        mean_square = torch.mean(x * x, dim=-1, keepdim=True)
        return self.weight * (x / torch.sqrt(mean_square + self.eps))


class WithoutEpsilon(nn.Module):
    """``gamma * x / sqrt(mean(x * x))``: a row of zeros gives NaN, as it does in PyTorch."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = seeded_weight(dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise the last axis of x, shape (..., dim)."""
        mean_square = torch.mean(x * x, dim=-1, keepdim=True)
        return self.weight * (x / torch.sqrt(mean_square))


class WithoutGamma(nn.Module):
    """``x / sqrt(mean(x * x) + eps)``."""

    def __init__(self, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise the last axis of x, any shape."""
        mean_square = torch.mean(x * x, dim=-1, keepdim=True)
        return x / torch.sqrt(mean_square + self.eps)


def every_norm(dim: int) -> dict[str, nn.Module]:
    """Return one module of each class, by the class's name."""
    modules = (EpsilonOutside(dim), MeanAndRoot(dim), WithoutEpsilon(dim), WithoutGamma())
    return {type(module).__name__: module.eval() for module in modules}
