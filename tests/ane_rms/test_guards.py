"""The report's warnings: one for each guard rail, and none where nothing is near one."""

from __future__ import annotations

import coremltools as ct
import numpy as np
import pytest
import torch

import ane_rms
from ane_rms.guards import peak_cautions
from tests.mil_tools import NE, Norm, options, torch_program


def warnings_of(width=64, epsilon=1e-5, gamma=1.0, shape=None, **more):
    weight = torch.full((width,), float(gamma))

    def norm(x, w):
        return w * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + epsilon))

    model = ane_rms.convert(
        torch_program(Norm(norm, weight), (1, 8, width)),
        inputs=[ct.TensorType(name="x", shape=shape or (1, 8, width))],
        **options(NE, minimum_deployment_target=ct.target.iOS17, **more),
    )
    report = ane_rms.report(model)
    assert len(report.fused) == 1
    assert {warning.name for warning in report.warnings} <= {report.fused[0].name}
    return [warning.reason for warning in report.warnings]


def test_nothing_is_said_of_an_ordinary_norm():
    assert warnings_of(gamma=0.5) == []


def test_a_doubled_axis_past_the_width_limit():
    assert warnings_of(width=8192, gamma=0.5) == []
    (reason,) = warnings_of(width=8224, gamma=0.5)
    assert "16,448 elements" in reason
    assert "16,384" in reason
    assert warnings_of(width=8224, gamma=0.5, lowering="max_abs") == []


def test_enumerated_shapes_with_a_layer_norm():
    shapes = ct.EnumeratedShapes([(1, 4, 64), (1, 8, 64)], default=(1, 8, 64))
    (reason,) = warnings_of(gamma=0.5, shape=shapes)
    assert "EnumeratedShapes" in reason
    assert warnings_of(gamma=0.5, shape=shapes, lowering="max_abs") == []
    assert warnings_of(gamma=0.5, shape=(1, ct.RangeDim(1, 8, 8), 64)) == []


def test_an_epsilon_that_float16_makes_into_another():
    (reason,) = warnings_of(epsilon=1e-8, gamma=0.5)
    assert "epsilon 1e-08 is 5.96e-08 in float16" in reason
    assert warnings_of(epsilon=1e-8, gamma=0.5, compute_precision=ct.precision.FLOAT32) == []


def test_a_gamma_that_overflows_float16():
    (reason,) = warnings_of(gamma=70000.0)
    assert "gamma reaches 70000" in reason
    assert warnings_of(gamma=70000.0, compute_precision=ct.precision.FLOAT32) == []


def test_an_input_that_calibration_saw_exceed_float16():
    (caution,) = peak_cautions({"a": 65504.0, "b": 104_162.0, "c": 1.0})
    assert caution.name == "b"
    assert "104,162" in caution.reason
    assert [one.name for one in peak_cautions({"d": np.inf, "e": np.nan})] == ["d", "e"]


@pytest.mark.parametrize("units", [ct.ComputeUnit.CPU_ONLY, ct.ComputeUnit.ALL])
def test_other_compute_units_have_no_warnings(units):
    weight = torch.full((64,), 70000.0)
    program = torch_program(Norm(lambda x, w: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True)) * w, weight), (1, 8, 64))
    model = ane_rms.convert(program, inputs=[ct.TensorType(name="x", shape=(1, 8, 64))], **options(units))
    assert [warning for warning in ane_rms.report(model).warnings if warning.name] == []  # of a site
