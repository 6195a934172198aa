"""Norms of norms: each value that a norm reads is the result of a fused norm, never a part of one."""

from __future__ import annotations

import coremltools as ct
import numpy as np
import pytest
from coremltools.converters.mil.mil import Builder as mb
from coremltools.converters.mil.mil.passes.graph_pass import PassOption
from coremltools.converters.mil.mil.passes.pass_registry import PASS_REGISTRY

import ane_rms  # noqa: F401 - registers the passes
from harness.interpreter import ReferenceModel
from tests.ane_rms.spellings import D
from tests.mil_tools import NE, regimes

SHAPE = (2, 8, D)


def fuse(program):
    graph_pass = PASS_REGISTRY["common::fuse_rms_norm"]
    graph_pass.set_options([PassOption("compute_units", NE)])
    graph_pass(program)
    PASS_REGISTRY["common::dead_code_elimination"](program)


@pytest.mark.parametrize("factor", [np.float32(0.8125), np.linspace(0.5, 1.5, D, dtype=np.float32)])
def test_a_norm_ends_at_the_value_that_another_norm_reads(factor):
    """Were it to end after its factor, the value before that would be needed once more, as it was written."""

    def normed(x, read):
        mean = mb.reduce_mean(x=mb.square(x=x), axes=[-1], keep_dims=True)
        return mb.mul(x=mb.rsqrt(x=mb.add(x=mean, y=np.float32(1e-5)), epsilon=np.float32(1e-30)), y=read)

    @mb.program(input_specs=[mb.TensorSpec(shape=SHAPE)], opset_version=ct.target.iOS17)
    def program(x):
        first = normed(x, x)
        scaled = mb.mul(x=factor, y=first)
        second = normed(first, first) if factor.ndim else normed(scaled, mb.mul(x=scaled, y=np.float32(2)))
        return mb.add(x=second, y=scaled, name="out")

    x = regimes(SHAPE)
    plain = ReferenceModel(program, "fp64").predict({"x": x})["out"]
    fuse(program)
    assert len(program.find_ops(op_type="ane_rms_norm")) == 2
    assert program.find_ops(op_type="rsqrt") == []
    defined = np.isfinite(plain)
    found = ReferenceModel(program, "fp64").predict({"x": x})["out"]
    np.testing.assert_allclose(found[defined], plain[defined], rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("square", ["of one product", "of two products"])
def test_the_norm_of_a_scaled_norm_reads_the_scaled_norm(square):
    """Were it to read the norm before its scale, that norm would be needed twice, and once stay as it was written."""

    def inverse(squared):
        mean = mb.reduce_mean(x=squared, axes=[-1], keep_dims=True)
        return mb.rsqrt(x=mb.add(x=mean, y=np.float32(1e-5)), epsilon=np.float32(1e-30))

    @mb.program(input_specs=[mb.TensorSpec(shape=SHAPE)], opset_version=ct.target.iOS17)
    def program(x):
        first = mb.mul(x=mb.mul(x=x, y=inverse(mb.square(x=x))), y=np.float32(0.5), name="first")
        part = mb.mul(x=first, y=np.float32(-0.25))
        other = part if square == "of one product" else mb.mul(x=first, y=np.float32(-0.125))
        return mb.mul(x=first, y=inverse(mb.mul(x=part, y=other)), name="second")

    before = str(program)
    x = regimes(SHAPE)
    plain = ReferenceModel(program, "fp64").predict({"x": x})["second"]
    assert str(program) == before
    fuse(program)
    norms = program.find_ops(op_type="ane_rms_norm")
    assert [op.outputs[0].name for op in norms] == ["first", "second"]
    assert norms[1].x is norms[0].outputs[0]
    assert program.find_ops(op_type="rsqrt") == []
    defined = np.isfinite(plain)
    found = ReferenceModel(program, "fp64").predict({"x": x})["second"]
    np.testing.assert_allclose(found[defined], plain[defined], rtol=2e-6, atol=2e-6)
