"""Conversions as users write them, with ``install`` in effect: every way of calling that the first users had.

Modules are converted untraced, by their inputs' shapes; predictions need macOS and are left to the executor here.
"""

from __future__ import annotations

import coremltools as ct
import numpy as np
import pytest
import torch
from coremltools import ComputeUnit
from coremltools.converters.mil.mil import Builder as mb
from coremltools.converters.mil.testing_utils import get_op_types_in_program
from torch import nn

import ane_rms
from harness.interpreter import ReferenceModel
from tests.mil_tools import rms_norm64

SHAPE = (1, 16, 64)


class NormOfTheRow(nn.Module):
    """The row's length over sqrt(d), with epsilon outside the root."""

    def __init__(self, dim: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.linspace(0.5, 1.5, dim))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Divide by the length."""
        rms = x.norm(dtype=torch.float32, dim=-1, keepdim=True) * (x.shape[-1] ** -0.5)
        return self.weight * (x / (rms + self.eps))


class MeanOfSquares(nn.Module):
    """The root of a mean, with or without epsilon and gamma."""

    def __init__(self, dim: int | None = None, eps: float | None = 1e-6, axes: object = -1) -> None:
        super().__init__()
        self.eps, self.axes = eps, axes
        self.weight = None if dim is None else nn.Parameter(torch.linspace(0.5, 1.5, dim))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Divide by the root."""
        mean = torch.mean(x * x, dim=self.axes, keepdim=True)
        y = x / torch.sqrt(mean if self.eps is None else mean + self.eps)
        return y if self.weight is None else self.weight * y


class Transformer(nn.Module):
    """A block with two norms and torch's own attention."""

    def __init__(self, d_model: int = 64, num_heads: int = 8) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(d_model, num_heads, batch_first=True)
        self.rms_norm1, self.rms_norm2 = NormOfTheRow(d_model), NormOfTheRow(d_model)
        self.linear = nn.Linear(d_model, d_model)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Attend, then transform, each behind a norm."""
        normed = self.rms_norm1(x)
        attended, _ = self.attention(normed, normed, normed)
        x = x + attended
        return x + self.linear(self.rms_norm2(x))


@pytest.fixture(autouse=True)
def installed():
    ane_rms.install()
    yield
    ane_rms.uninstall()


def operations_of(model):
    return get_op_types_in_program(model._mil_program)


def test_a_block_converts_by_the_shape_of_its_input():
    model = Transformer()
    model.eval()
    example_input = torch.randn(*SHAPE)
    coreml_model = ct.convert(
        model,
        inputs=[ct.TensorType(shape=example_input.shape)],
        compute_units=ct.ComputeUnit.CPU_AND_NE,
        minimum_deployment_target=ct.target.iOS15,
        convert_to="mlprogram",
    )
    operations = operations_of(coreml_model)
    assert operations.count("layer_norm") == operations.count("concat") == 2
    assert len(ane_rms.report(coreml_model).fused) == 2
    (got,) = ReferenceModel(coreml_model, precision="fp32").predict({"x": example_input.numpy()}).values()
    expected = model(example_input).detach().numpy()
    assert np.linalg.norm(got - expected) / np.linalg.norm(expected) < 5e-3  # weights are float16


@pytest.mark.parametrize(
    "norm",
    [NormOfTheRow(64), MeanOfSquares(64), MeanOfSquares(64, None), MeanOfSquares(), MeanOfSquares(eps=None)],
    ids=["length", "root", "no epsilon", "no gamma", "neither"],
)
def test_every_way_of_writing_it_is_right(norm):
    coreml_model = ct.convert(
        norm,
        inputs=[ct.TensorType(shape=SHAPE)],
        compute_units=ct.ComputeUnit.CPU_AND_NE,
        convert_to="mlprogram",
    )
    x = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    (got,) = ReferenceModel(coreml_model, precision="fp16").predict({"x": x}).values()
    gamma = None if norm.weight is None else norm.weight.detach().numpy()
    expected = rms_norm64(x, gamma, norm.eps or 0.0)
    assert np.mean(np.abs(got - expected) / (np.abs(expected) + 1e-8)) < 1e-2
    assert np.max(np.abs(got - expected)) < 5e-3


@pytest.mark.parametrize("axes", [0, [0, 1]])
def test_other_axes_are_left_as_written(axes):
    invalid_coreml = ct.convert(
        MeanOfSquares(axes=axes), inputs=[ct.TensorType(shape=(2, 8, 64))], compute_units=ct.ComputeUnit.CPU_AND_NE
    )
    assert "layer_norm" not in operations_of(invalid_coreml)
    (miss,) = ane_rms.report(invalid_coreml).missed
    assert "the mean is over axes" in miss.reason


@pytest.mark.parametrize("units", [unit for unit in ComputeUnit if unit is not ComputeUnit.CPU_AND_NE])
def test_other_units_keep_the_operations(units):
    model_gpu = ct.convert(
        MeanOfSquares(64), inputs=[ct.TensorType(shape=SHAPE)], compute_units=units, convert_to="mlprogram"
    )
    assert "layer_norm" not in operations_of(model_gpu)
    assert "sqrt" in operations_of(model_gpu)


def test_the_op_is_there_for_programs_written_by_hand():
    @mb.program(input_specs=[mb.TensorSpec(shape=SHAPE)])
    def direct_ane_rms_norm(x):
        gamma = mb.const(val=np.ones((64,), dtype=np.float32))
        return mb.ane_rms_norm(x=x, gamma=gamma, epsilon=1e-6)

    mlmodel_ane = ct.convert(direct_ane_rms_norm, compute_units=ComputeUnit.CPU_AND_NE)
    operations = operations_of(mlmodel_ane)
    assert "layer_norm" in operations
    assert "concat" in operations
    assert "ane_rms_norm" not in operations
