"""Random numbers: shape, type and distribution are those of the op, the numbers themselves are not Core ML's.

Core ML does not document its generator. With a seed, the same numbers come in every run here; without one, others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from harness.interpreter.registry import impl

if TYPE_CHECKING:
    from torch import Tensor

    from harness.interpreter.registry import Ints

UNSEEDED = -1
"""Core ML's default: another sequence in each run."""


def _generator(seed: int) -> torch.Generator:
    generator = torch.Generator()
    if seed == UNSEEDED:
        generator.seed()
    else:
        generator.manual_seed(seed)
    return generator


@impl("random_uniform")
def random_uniform(shape: Ints, low: float = 0.0, high: float = 1.0, *, seed: int = UNSEEDED) -> Tensor:
    """Return numbers uniform in ``[low, high)``."""
    return low + (high - low) * torch.rand(shape, generator=_generator(seed))


@impl("random_normal")
def random_normal(shape: Ints, mean: float = 0.0, stddev: float = 1.0, *, seed: int = UNSEEDED) -> Tensor:
    """Return normal numbers."""
    return mean + stddev * torch.randn(shape, generator=_generator(seed))


@impl("random_bernoulli")
def random_bernoulli(shape: Ints, prob: float = 0.5, *, seed: int = UNSEEDED) -> Tensor:
    """Return 1 with a probability, else 0."""
    return (torch.rand(shape, generator=_generator(seed)) < prob).float()


@impl("random_categorical")
def random_categorical(x: Tensor, *, mode: str = "logits", size: int = 1, seed: int = UNSEEDED) -> Tensor:
    """Draw ``size`` indices with replacement from each distribution of the last dimension, logits or ``probs``."""
    rows = x.float().reshape(-1, x.shape[-1])
    weights = rows.softmax(-1) if mode == "logits" else rows
    drawn = torch.multinomial(weights, size, replacement=True, generator=_generator(seed))
    return drawn.reshape(*x.shape[:-1], size).float()
