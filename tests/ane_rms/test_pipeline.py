"""``pipeline``: the passes in a pipeline of coremltools, with the options of the call, the base or the defaults."""

from __future__ import annotations

import coremltools as ct
import pytest

import ane_rms
from tests.ane_rms.spellings import SPELLINGS, D
from tests.mil_tools import NE, Norm, inputs, op_types, options, torch_program

SHAPE = (2, 8, D)
ARGUMENTS = options(NE, minimum_deployment_target=ct.target.iOS17)


@pytest.fixture
def program():
    return torch_program(Norm(SPELLINGS["A: gamma * (...).to"].function), SHAPE)


def fused(model):
    return len(ane_rms.report(model).fused)


def test_a_pipeline_serves_plain_convert(program):
    pipeline = ane_rms.pipeline(NE)
    model = ct.convert(program, inputs=inputs(SHAPE), pass_pipeline=pipeline, **ARGUMENTS)
    assert "layer_norm" in op_types(model)
    assert len(ane_rms.report(model).fused) == 1


def test_a_pipeline_extends_its_base_and_leaves_it_as_it_was():
    base = ct.PassPipeline.DEFAULT
    base.remove_passes({"common::fuse_layernorm_or_instancenorm"})
    base.set_options("common::const_elimination", {"skip_const_by_size": "1000000"})
    before = list(base.passes)
    pipeline = ane_rms.pipeline(NE, base)
    assert base.passes == before
    added = [name for name in pipeline.passes if name not in before]
    assert added == [
        "common::fuse_rms_norm", "common::lower_ane_rms_norm_to_layer_norm", "common::expand_ane_rms_norm",
        "common::restore_rms_norm_epsilon",
    ]  # fmt: skip
    assert [name for name in pipeline.passes if name in before] == before
    assert pipeline.passes[pipeline.passes.index("common::const_elimination") + 1] == added[0]
    (option,) = pipeline.get_options("common::const_elimination")
    assert option.option_val == "1000000"
    assert ane_rms.pipeline(NE, pipeline).passes == pipeline.passes
    for units in (None, ct.ComputeUnit.ALL, ct.ComputeUnit.CPU_ONLY, ct.ComputeUnit.CPU_AND_GPU):
        assert [name for name in ane_rms.pipeline(units).passes if "rms_norm" in name] == [
            "common::expand_ane_rms_norm"
        ]


def test_a_users_own_pipeline_is_kept_in_a_conversion(program):
    empty = ct.PassPipeline.EMPTY
    model = ane_rms.convert(program, inputs=inputs(SHAPE), pass_pipeline=empty, **ARGUMENTS)
    assert len(ane_rms.report(model).fused) == 1
    assert "layer_norm" in op_types(model)
    assert empty.passes == []


def test_the_options_of_a_pipeline_are_kept_unless_the_call_says_otherwise(program):
    kept = {"inputs": inputs(SHAPE), "pass_pipeline": ane_rms.pipeline(lowering="max_abs"), **ARGUMENTS}
    assert ane_rms.report(ane_rms.convert(program, **kept)).lowering == "max_abs"
    assert ane_rms.report(ane_rms.convert(program, lowering="l2_norm", **kept)).lowering == "l2_norm"


def test_the_units_of_a_pipeline_are_kept_where_the_call_leaves_them_out(program):
    pipeline = ane_rms.pipeline(NE)
    arguments = {"inputs": inputs(SHAPE), "pass_pipeline": pipeline, "skip_model_load": True}
    assert fused(ane_rms.convert(program, **arguments)) == 1
    assert fused(ane_rms.convert(program, compute_units=ct.ComputeUnit.CPU_ONLY, **arguments)) == 0


def test_a_pipeline_of_names_alone_says_why_nothing_fuses(program, caplog):
    names = [*ct.PassPipeline.DEFAULT.passes]
    at = names.index("common::const_elimination") + 1
    names[at:at] = ["common::fuse_rms_norm", "common::lower_ane_rms_norm_to_layer_norm"]
    given = {"inputs": inputs(SHAPE), "pass_pipeline": ct.PassPipeline(names, "by name"), **ARGUMENTS}
    with caplog.at_level("WARNING", logger="coremltools"):
        ct.convert(program, **given)
    assert any("without its option compute_units" in record.message for record in caplog.records)
    assert fused(ane_rms.convert(program, **given)) == 1
