"""What a norm module is, is decided by what it does."""

from __future__ import annotations

import types
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import nn

from harness.export.norms import NormCall, classify, looks_like_norm, norms_executed

if TYPE_CHECKING:
    from collections.abc import Callable

DIM = 64


class Norm(nn.Module):
    """A norm module with weights and an epsilon, whose arithmetic is given."""

    def __init__(self, forward: Callable[..., torch.Tensor], epsilon: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(DIM, generator=torch.Generator().manual_seed(0)) + 0.5)
        self.epsilon = epsilon
        self.forward = types.MethodType(forward, self)


def rms_norm(self: Norm, x: torch.Tensor) -> torch.Tensor:
    return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.epsilon))


def no_gamma(self: Norm, x: torch.Tensor) -> torch.Tensor:
    return x / torch.sqrt(x.pow(2).mean(-1, keepdim=True) + self.epsilon)


def one_plus_weight(self: Norm, x: torch.Tensor) -> torch.Tensor:
    return x * (x.pow(2).mean(-1, keepdim=True) + self.epsilon).pow(-0.5) * (1 + self.weight)


def epsilon_outside_the_root(self: Norm, x: torch.Tensor) -> torch.Tensor:
    return self.weight * x / (x.norm(dim=-1, keepdim=True) * DIM**-0.5 + self.epsilon)


def gated_after(self: Norm, x: torch.Tensor, gate: torch.Tensor) -> torch.Tensor:
    return rms_norm(self, x) * nn.functional.silu(gate)


def gated_before(self: Norm, x: torch.Tensor, gate: torch.Tensor | None = None) -> torch.Tensor:
    return rms_norm(self, x if gate is None else x * nn.functional.silu(gate))


def centred(self: Norm, x: torch.Tensor) -> torch.Tensor:
    # a LayerNorm written out by hand, as Cohere's is
    return rms_norm(self, x - x.mean(-1, keepdim=True))


def variance(self: Norm, x: torch.Tensor) -> torch.Tensor:
    # the mean is taken away inside the variance only, as in some versions of timm
    return self.weight * x * torch.rsqrt(x.var(-1, keepdim=True, unbiased=False) + self.epsilon)


def biased(self: Norm, x: torch.Tensor) -> torch.Tensor:
    return rms_norm(self, x) + 1


def over_rows(self: Norm, x: torch.Tensor) -> torch.Tensor:
    return self.weight * x * torch.rsqrt(x.pow(2).mean(-2, keepdim=True) + self.epsilon)


def clip(_self: Norm, x: torch.Tensor) -> torch.Tensor:
    return x.clamp(-1, 1)


RMS_NORMS = [rms_norm, no_gamma, one_plus_weight, epsilon_outside_the_root, gated_after, gated_before]
OTHERS = {centred: "layer_norm", variance: "other", biased: "other", over_rows: "other", clip: "other"}


@pytest.mark.parametrize("shape", [(1, DIM), (1, 1, DIM), (2, 7, DIM), (1, 4, 32, DIM), (DIM,)])
@pytest.mark.parametrize("forward", RMS_NORMS)
def test_is_rms_norm(forward: Callable[..., torch.Tensor], shape: tuple[int, ...]) -> None:
    assert classify(Norm(forward), shape)[0] == "rms_norm"


@pytest.mark.parametrize(("forward", "kind"), OTHERS.items())
def test_is_not_rms_norm(forward: Callable[..., torch.Tensor], kind: str) -> None:
    assert classify(Norm(forward), (2, 7, DIM)) == (kind, None)


@pytest.mark.parametrize(
    ("module", "kind"),
    [
        (nn.RMSNorm(DIM, eps=1e-6), "rms_norm"),
        (nn.LayerNorm(DIM), "layer_norm"),
        (nn.LayerNorm(DIM, elementwise_affine=False), "layer_norm"),
        (nn.GroupNorm(2, DIM), "other"),
    ],
)
def test_modules_of_torch(module: nn.Module, kind: str) -> None:
    assert classify(module, (2, DIM))[0] == kind


@pytest.mark.parametrize("epsilon", [100.0, 1e-3, 1e-5, 1e-6, 1e-8, 0.0])
def test_epsilon_is_measured(epsilon: float) -> None:
    assert classify(Norm(rms_norm, epsilon), (2, 7, DIM))[1] == pytest.approx(epsilon, rel=1e-2)


def test_classifying_leaves_the_module_alone() -> None:
    norm = Norm(rms_norm)
    norm.register_forward_hook(lambda *_: pytest.fail("a hook ran"))
    classify(norm, (2, DIM))


def test_looks_like_norm() -> None:
    assert looks_like_norm(Norm(rms_norm))
    assert not looks_like_norm(nn.Linear(2, 2))


def test_a_norm_around_a_norm_is_not_counted_twice() -> None:
    outer = type("PreNormBlock", (nn.Module,), {})()
    outer.inner = Norm(rms_norm)
    assert not looks_like_norm(outer)


class Twice(nn.Module):
    """One norm executed twice, once by keyword, and one never executed."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.ModuleDict({"used": Norm(rms_norm, 1e-6), "unused": Norm(rms_norm)})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the norm of the norm."""
        return self.network["used"](x=self.network["used"](x))


def test_counts_executions() -> None:
    module = Twice()
    calls = norms_executed(module, {"x": np.ones((2, 3, DIM), np.float32)})
    one = NormCall("used", "Norm", "rms_norm", (2, 3, DIM), has_gamma=True, epsilon=1e-6)
    assert calls == (one, one)


def test_hooks_are_taken_off_after_a_failure() -> None:
    module = Twice()
    with pytest.raises(RuntimeError):
        norms_executed(module, {"x": np.ones((2, 3, DIM + 1), np.float32)})
    assert not module.network["used"]._forward_hooks
