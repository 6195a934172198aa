"""What the passes cost: their share of a conversion, and how that grows with the number of layers.

Ratios within one run, never absolute times. Run with ``pytest -m bench``.
"""

from __future__ import annotations

import time
from collections import defaultdict

import coremltools as ct
import numpy as np
import pytest
import torch
from coremltools.converters.mil.mil.passes.pass_registry import PASS_REGISTRY

import ane_rms
from ane_rms.pipeline import FUSE, LOWER
from tests.mil_tools import NE, options

pytestmark = [pytest.mark.bench, pytest.mark.slow]

OURS = (FUSE, LOWER)
SHARE = 0.02
WIDTH, SEQUENCE = 256, 32


class Layer(torch.nn.Module):
    """A Llama layer without rotary embedding: two norms, attention, gated MLP."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = (torch.nn.Parameter(torch.rand(WIDTH) + 0.5) for _ in range(2))
        self.query, self.key, self.value, self.out = (torch.nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(4))
        self.gate, self.up = (torch.nn.Linear(WIDTH, 4 * WIDTH, bias=False) for _ in range(2))
        self.down = torch.nn.Linear(4 * WIDTH, WIDTH, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply attention and MLP, each after its norm."""
        h = norm(x, self.first)
        weights = torch.softmax(self.query(h) @ self.key(h).transpose(-1, -2) * WIDTH**-0.5, -1)
        x = x + self.out(weights @ self.value(h))
        h = norm(x, self.second)
        return x + self.down(torch.nn.functional.silu(self.gate(h)) * self.up(h))


def norm(x: torch.Tensor, gamma: torch.Tensor) -> torch.Tensor:
    """Return RMSNorm as transformers writes it."""
    return gamma * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5))


def conversion(layers: int, monkeypatch: pytest.MonkeyPatch) -> tuple[float, float]:
    """Return (seconds in our passes, seconds in all) of one conversion."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(*(Layer() for _ in range(layers))).eval().requires_grad_(requires_grad=False)
    traced = torch.jit.trace(model, torch.zeros(1, SEQUENCE, WIDTH))
    spent: defaultdict[str, float] = defaultdict(float)
    for name in OURS:
        kind = PASS_REGISTRY.passes[name]

        def timed(self, program, apply=kind.apply, name=name):
            start = time.perf_counter()
            apply(self, program)
            spent[name] += time.perf_counter() - start

        monkeypatch.setattr(kind, "apply", timed)
    start = time.perf_counter()
    converted = ane_rms.convert(
        traced,
        inputs=[ct.TensorType(name="x", shape=(1, SEQUENCE, WIDTH))],
        **options(NE, minimum_deployment_target=ct.target.iOS17),
    )
    total = time.perf_counter() - start
    monkeypatch.undo()
    assert len(ane_rms.report(converted).fused) == 2 * layers
    return sum(spent.values()), total


def test_the_passes_are_a_small_share_of_a_conversion(monkeypatch, capsys):
    conversion(2, monkeypatch)  # warm
    ours, total = min((conversion(16, monkeypatch) for _ in range(3)), key=lambda pair: pair[0] / pair[1])
    with capsys.disabled():
        print(f"\n16 layers: fuse and lower {ours / total:.2%} of the conversion")  # noqa: T201 - the figure is the result
    assert ours / total < SHARE


def test_their_cost_grows_linearly(monkeypatch, capsys):
    counts = (8, 16, 32, 64, 128)
    conversion(2, monkeypatch)
    spent = [min(conversion(layers, monkeypatch)[0] for _ in range(2)) for layers in counts]
    exponent = float(np.polyfit(np.log(counts), np.log(spent), 1)[0])
    with capsys.disabled():
        per_layer = ", ".join(f"{n}: {one / n / (spent[0] / 8):.2f}" for n, one in zip(counts, spent, strict=True))
        print(f"\ncost a layer against 8 layers: {per_layer}; exponent {exponent:.2f}")  # noqa: T201
    assert exponent < 1.15
