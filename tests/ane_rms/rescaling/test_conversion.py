"""``ane_rms.convert(rescale=...)``: the same outputs, in every way that a model is converted."""

from __future__ import annotations

from pathlib import Path

import coremltools as ct
import numpy as np
import pytest
import torch

import ane_rms
from ane_rms.passes.strategies import STRATEGIES
from tests.mil_tools import NE, inputs, op_counts, options, predict, torch_program

WIDTH = 320  # so that a weight is large enough to be mapped in a lean conversion


class Residual(torch.nn.Module):
    """Two blocks that write a stream, each behind a norm, and a head behind another."""

    def __init__(self, size: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.head = (torch.nn.Linear(WIDTH, WIDTH) for _ in range(3))
        for layer in (self.first, self.second):
            layer.weight.data *= size
            layer.bias.data *= size

    def forward(self, x):
        """Add what each block makes of the stream, and return the head's."""
        for layer in (self.first, self.second):
            x = x + layer(self.norm(x))
        return self.head(self.norm(x))

    @staticmethod
    def norm(x):
        """Normalise."""
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)


X = np.random.default_rng(0).standard_normal((1, 4, WIDTH)).astype(np.float32)


def converted(size=1.0, **more):
    given = options(NE, compute_precision=ct.precision.FLOAT32) | more
    return ane_rms.convert(torch_program(Residual(size), X.shape), inputs=inputs(X.shape), **given)


def expected(size=1.0):
    with torch.no_grad():
        return Residual(size)(torch.from_numpy(X)).numpy()


@pytest.mark.parametrize("lowering", STRATEGIES)
def test_a_factor_leaves_the_outputs_alone_in_every_lowering(lowering):
    model = converted(rescale=0.125, lowering=lowering)
    np.testing.assert_allclose(predict(model, X), expected(), rtol=1e-4, atol=1e-4)
    (entry,) = ane_rms.report(model).rescaled
    assert entry.factor == 0.125


@pytest.mark.parametrize("lean", [False, True])
@pytest.mark.parametrize("precision", [ct.precision.FLOAT16, ct.precision.FLOAT32])
def test_peaks_bring_a_stream_into_range(lean, precision):
    def peaks(program):
        (first, second) = [op for op in program["main"].operations if op.op_type == "add"]
        return {first.outputs[0].name: 2e5, second.outputs[0].name: 3e5}

    model = converted(3e5, rescale=peaks, lean=lean, compute_precision=precision)
    np.testing.assert_allclose(predict(model, X, "fp16"), expected(3e5), rtol=0.05, atol=0.02)
    (entry,) = ane_rms.report(model).rescaled
    assert (entry.factor, entry.peak_after) == (2.0**-5, 9_375)


def test_the_option_changes_nothing_where_nothing_is_over_range():
    plain, measured = converted(), converted(rescale=lambda program: dict.fromkeys(peaked(program), 16_000.0))
    assert plain.get_spec() == measured.get_spec()
    first, second = (Path(one.weights_dir, "weight.bin").read_bytes() for one in (plain, measured))
    assert first == second


def peaked(program):
    return [var.name for op in program["main"].operations for var in op.outputs if op.op_type in ("add", "linear")]


def test_other_compute_units_are_left_alone():
    program = torch_program(Residual(1.0), X.shape)
    plain = ct.convert(program, inputs=inputs(X.shape), **options(ct.ComputeUnit.CPU_ONLY))
    given = options(ct.ComputeUnit.CPU_ONLY) | {"rescale": 0.125}
    model = ane_rms.convert(program, inputs=inputs(X.shape), **given)
    assert op_counts(plain) == op_counts(model)
    assert ane_rms.report(model).rescaled == ()
