"""What a rewrite leaves behind: nothing of the sites it replaced, and everything else as it was."""

from __future__ import annotations

import coremltools as ct
import numpy as np
import pytest
from coremltools.converters.mil.mil import Builder as mb
from coremltools.converters.mil.mil import block as mil_block
from coremltools.converters.mil.mil.passes.graph_pass import PassOption
from coremltools.converters.mil.mil.passes.pass_registry import PASS_REGISTRY

from ane_rms.replacing import rewrite_each
from harness.interpreter import ReferenceModel
from tests.mil_tools import rms_norm64

SHAPE = (2, 8)
PASSES = ("common::fuse_rms_norm", "common::lower_ane_rms_norm_to_layer_norm", "common::expand_ane_rms_norm")
X = np.random.default_rng(3).standard_normal(SHAPE).astype(np.float32)


def norm(x, epsilon=1e-6):
    mean = mb.reduce_mean(x=mb.square(x=x), axes=[-1], keep_dims=True)
    return mb.mul(x=x, y=mb.rsqrt(x=mb.add(x=mean, y=np.float32(epsilon)), epsilon=np.float32(0)))


def program_of(build):
    @mb.program(input_specs=[mb.TensorSpec(shape=SHAPE)], opset_version=ct.target.iOS17)
    def program(x):
        return build(x)

    return program


def run(program, *names):
    for name in names:
        graph_pass = PASS_REGISTRY[name]
        if name != PASSES[2]:
            graph_pass.set_options([PassOption("compute_units", "CPU_AND_NE")])
        graph_pass(program)
        program["main"].validate(force_validate=True)
    return program


def value(program):
    (result,) = ReferenceModel(program).predict({"x": X}).values()
    return result


def test_a_program_without_a_site_keeps_every_op_dead_ones_too():
    def build(x):
        mb.exp(x=x)
        return mb.mul(x=x, y=np.float32(2))

    program = program_of(build)
    before = [id(op) for op in program["main"].operations]
    run(program, *PASSES)
    assert [id(op) for op in program["main"].operations] == before


def test_what_a_fusion_leaves_unused_is_gone():
    program = run(program_of(norm), PASSES[0])
    kinds = [op.op_type for op in program["main"].operations]
    assert sorted(kinds) == ["ane_rms_norm", "const", "const"]


def test_a_norm_that_only_a_replaced_site_read_is_no_trouble():
    """The outer mean square is of twice the inner norm, whose value nothing else reads."""

    def build(x):
        inner = norm(x)
        twice = mb.mul(x=inner, y=np.float32(2))
        mean = mb.reduce_mean(x=mb.square(x=twice), axes=[-1], keep_dims=True)
        return mb.mul(x=twice, y=mb.rsqrt(x=mb.add(x=mean, y=np.float32(1e-3))))

    expected = rms_norm64(2 * rms_norm64(X, None, 1e-6), None, 1e-3)
    np.testing.assert_allclose(value(run(program_of(build), *PASSES)), expected, rtol=1e-5)  # float32, a few ops


def test_an_intermediate_that_is_read_stays():
    def build(x):
        square = mb.square(x=x)
        mean = mb.reduce_mean(x=square, axes=[-1], keep_dims=True)
        normal = mb.mul(x=x, y=mb.rsqrt(x=mb.add(x=mean, y=np.float32(1e-6))))
        return mb.add(x=normal, y=square)

    program = run(program_of(build), PASSES[0])
    kinds = [op.op_type for op in program["main"].operations if op.op_type != "const"]
    assert kinds == ["square", "ane_rms_norm", "add"]


def test_a_failure_inside_a_rewrite_leaves_no_block_entered():
    program = program_of(norm)
    (last,) = [op for op in program["main"].operations if op.op_type == "mul"]

    def fail(op):
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        rewrite_each([last], fail)
    assert mil_block.BLOCK_STACK == []
