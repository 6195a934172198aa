"""``install``, ``uninstall``, ``installed`` and ``pipeline``: nothing to configure, and nothing left behind."""

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


@pytest.fixture(autouse=True)
def _nothing_stays_installed():
    before = ct.convert
    yield
    ct.convert = before


def test_plain_convert_does_the_same_once_installed(program):
    original = ct.convert
    ours = ane_rms.convert(program, inputs=inputs(SHAPE), **ARGUMENTS)
    ane_rms.install()
    try:
        installed = ct.convert(program, inputs=inputs(SHAPE), **ARGUMENTS)
    finally:
        ane_rms.uninstall()
    assert ct.convert is original
    assert op_types(installed) == op_types(ours)
    assert ane_rms.report(installed) == ane_rms.report(ours)
    assert "layer_norm" not in op_types(ct.convert(program, inputs=inputs(SHAPE), **ARGUMENTS))


def test_arguments_by_position_are_taken(program):
    with ane_rms.installed():
        model = ct.convert(program, "pytorch", inputs(SHAPE), **ARGUMENTS)
    assert "layer_norm" in op_types(model)


def test_installing_twice_is_installing_once():
    original = ct.convert
    ane_rms.install()
    ane_rms.install()
    ane_rms.uninstall()
    assert ct.convert is original
    ane_rms.uninstall()
    assert ct.convert is original


def test_the_context_restores_the_very_function_also_after_an_exception():
    original = ct.convert

    def fail():
        with ane_rms.installed():
            assert ct.convert is not original
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        fail()
    assert ct.convert is original


def test_contexts_nest_and_leave_an_earlier_install_in_effect():
    original = ct.convert
    ane_rms.install()
    installed = ct.convert
    with ane_rms.installed(), ane_rms.installed():
        pass
    assert ct.convert is installed
    ane_rms.uninstall()
    assert ct.convert is original


def test_a_replacement_by_somebody_else_is_respected():
    def theirs(model, **kwargs):
        return model, kwargs

    ane_rms.install()
    ct.convert = theirs
    with pytest.raises(RuntimeError, match="replaced by something else"):
        ane_rms.uninstall()
    assert ct.convert is theirs


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


def test_a_conversion_to_milinternal_gives_the_program(program):
    found = ane_rms.convert(program, inputs=inputs(SHAPE), **{**ARGUMENTS, "convert_to": "milinternal"})
    assert "layer_norm" in op_types(found)
