"""``lowering="auto"``: the form by width, family, calibrated range and enumerated shapes, and its reason."""

from __future__ import annotations

import coremltools as ct
import numpy as np
import pytest
from coremltools.converters.mil.mil import Builder as mb

import ane_rms
from ane_rms.passes.choice import Norm, choose
from harness.interpreter import ReferenceModel
from tests.mil_tools import NE, op_types, options, rms_norm64

LOWER = "common::lower_ane_rms_norm_to_layer_norm"


@pytest.mark.parametrize(
    ("norm", "family", "lowering", "words"),
    [
        (Norm(2048), None, "layer_norm", "4,096 elements fit"),
        (Norm(8192), "m1", "layer_norm", "16,384 elements fit"),
        (Norm(8200), "m1", "l2_norm", "16,400 elements is above 16,384"),
        (Norm(8200), "m5", "layer_norm", "16,400 elements fit"),
        (Norm(8200), None, "l2_norm", "above 16,384"),
        (Norm(8200, last=False), "m1", "max_abs", "above 16,384"),
        (Norm(8200, axes=2), "m1", "max_abs", "above 16,384"),
        (Norm(2048, row_norm=900.0), "m1", "reduce_l2_norm", "reached 900"),
        (Norm(16_368, row_norm=900.0), "m1", "reduce_l2_norm", "reached 900"),
        (Norm(16_384, row_norm=900.0), "m1", "l2_norm", "above 16,384"),
        (Norm(16_384, row_norm=900.0), "m5", "reduce_l2_norm", "reached 900"),
        (Norm(2048, row_norm=40_000.0), "m1", "layer_norm", "too large"),
        (Norm(2048, row_norm=float("inf")), "m1", "layer_norm", "too large"),
        (Norm(2048, axes=2, row_norm=10.0), "m1", "layer_norm", "fit"),
        (Norm(None), "m1", "layer_norm", "not known"),
    ],
)
def test_the_choice_and_its_reason(norm, family, lowering, words):
    choice = choose(norm, family)
    assert choice.lowering == lowering
    assert words in choice.reason


def test_enumerated_shapes_take_no_layer_norm():
    choice = choose(Norm(64), "m5", enumerated=True)
    assert choice.lowering == "l2_norm"
    assert "enumerated shapes" in choice.reason


def test_an_unknown_family_is_named():
    with pytest.raises(ValueError, match="unknown family 'm9'"):
        choose(Norm(64), "m9")


def one_norm(width):
    @mb.program(input_specs=[mb.TensorSpec((2, width))], opset_version=ct.target.iOS17)
    def program(x):
        return mb.ane_rms_norm(x=x, epsilon=np.float32(1e-5), name="y")

    return program


def converted(program, lowering):
    return ane_rms.convert(program, lowering=lowering, **options(NE, minimum_deployment_target=ct.target.iOS17))


def test_convert_takes_it_by_width():
    assert "layer_norm" in op_types(converted(one_norm(64), "auto"))
    assert "l2_norm" in op_types(converted(one_norm(9000), "auto"))


@pytest.mark.parametrize(
    ("given", "op"),
    [({"family": "m5"}, "layer_norm"), ({"row_norms": {"y": 100.0}}, "reduce_l2_norm"), ({}, "l2_norm")],
)
def test_the_pass_takes_the_family_and_the_calibrated_range(given, op):
    pipeline = ane_rms.pipeline(NE, lowering="auto")
    pipeline.set_options(LOWER, {"compute_units": "CPU_AND_NE", "lowering": "auto", **given}, override=True)
    arguments = options(NE, minimum_deployment_target=ct.target.iOS17, compute_precision=ct.precision.FLOAT32)
    model = ct.convert(one_norm(9000), pass_pipeline=pipeline, **arguments)
    assert op in op_types(model)
    x = np.random.default_rng(0).standard_normal((2, 9000)).astype(np.float32)
    (actual,) = ReferenceModel(model, "fp32").predict({"x": x}).values()
    np.testing.assert_allclose(actual, rms_norm64(x, None, 1e-5, (1,)), rtol=1e-5, atol=1e-5)


def test_an_affine_layer_norm_warns_where_it_is_reported_not_to_compile():
    gamma = np.linspace(0.5, 1.5, 512).astype(np.float32)

    @mb.program(input_specs=[mb.TensorSpec((2, 512))], opset_version=ct.target.iOS17)
    def program(x):
        return mb.ane_rms_norm(x=x, gamma=gamma, epsilon=np.float32(1e-5), name="y")

    (warning,) = ane_rms.report(converted(program, "layer_norm_affine")).warnings
    assert "1,024 elements whose gamma varies" in warning.reason
    assert "M1 and M2" in warning.reason
    assert ane_rms.report(converted(program, "layer_norm")).warnings == ()


def test_no_warning_of_a_doubled_axis_that_auto_does_not_double():
    assert ane_rms.report(converted(one_norm(9000), "auto")).warnings == ()
