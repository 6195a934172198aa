"""``install``, ``uninstall`` and ``installed``: nothing to configure, and nothing left behind."""

from __future__ import annotations

import inspect
import sys
import threading
import types

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


def test_a_conversion_to_milinternal_gives_the_program(program):
    found = ane_rms.convert(program, inputs=inputs(SHAPE), **{**ARGUMENTS, "convert_to": "milinternal"})
    assert "layer_norm" in op_types(found)


def fused(model):
    return len(ane_rms.report(model).fused)


def test_a_decorator_between_two_installs_converts_once(program):
    calls = []
    ane_rms.install()
    inner = ct.convert

    def timed(*args, **kwargs):
        calls.append(kwargs)
        return inner(*args, **kwargs)

    ct.convert = timed
    ane_rms.install()
    try:
        assert fused(ct.convert(program, "pytorch", inputs(SHAPE), **ARGUMENTS)) == 1
        assert len(calls) == 1
    finally:
        ane_rms.uninstall()
    assert ct.convert is timed
    assert "layer_norm" not in op_types(ct.convert(program, inputs=inputs(SHAPE), **ARGUMENTS)), "still in effect"


def test_a_wrapper_that_takes_anything_is_converted_through(program, monkeypatch):
    calls, plain = [], ct.convert

    def wrapper(*args, **kwargs):
        calls.append(kwargs.pop("label"))
        return plain(*args, **kwargs)

    monkeypatch.setattr(ct, "convert", wrapper)
    with ane_rms.installed():
        assert fused(ct.convert(program, inputs=inputs(SHAPE), label="mine", **ARGUMENTS)) == 1
    assert calls == ["mine"]
    assert ct.convert is wrapper


def test_the_other_public_name_is_covered(program):
    original = ct.converters.convert
    with ane_rms.installed():
        assert fused(ct.converters.convert(program, inputs=inputs(SHAPE), **ARGUMENTS)) == 1
    assert ct.converters.convert is original


def test_a_name_imported_before_is_told(caplog, monkeypatch):
    module = types.ModuleType("their_converter")
    module.convert = ct.convert
    monkeypatch.setitem(sys.modules, "their_converter", module)
    with caplog.at_level("WARNING", logger="coremltools"), ane_rms.installed():
        pass
    assert any("their_converter" in record.message for record in caplog.records)


def test_contexts_of_two_threads_end_in_any_order(program):
    original = ct.convert
    a_in, b_in, a_out = (threading.Event() for _ in range(3))
    found = {}

    def a():
        with ane_rms.installed():
            a_in.set()
            b_in.wait(60)
        a_out.set()

    def b():
        a_in.wait(60)
        with ane_rms.installed():
            b_in.set()
            a_out.wait(60)
            found["b"] = fused(ct.convert(program, inputs=inputs(SHAPE), **ARGUMENTS))

    threads = [threading.Thread(target=one) for one in (a, b)]
    for thread in threads:
        thread.start()
    a_in.wait(60)
    found["here"] = "layer_norm" in op_types(ct.convert(program, inputs=inputs(SHAPE), **ARGUMENTS))
    for thread in threads:
        thread.join()
    assert found == {"b": 1, "here": False}
    assert ct.convert is original


@pytest.mark.parametrize("made", [lambda: ane_rms.pipeline(NE), lambda: ct.PassPipeline.DEFAULT])
def test_a_pass_taken_out_stays_out(program, made):
    remove = ct.PassPipeline.remove_passes
    with ane_rms.installed():
        pipeline = made()
        pipeline.remove_passes({"common::fuse_rms_norm"})
        model = ct.convert(program, inputs=inputs(SHAPE), pass_pipeline=pipeline, **ARGUMENTS)
    assert "layer_norm" not in op_types(model)
    assert ct.PassPipeline.remove_passes is remove


@pytest.mark.parametrize("units", [None, ct.ComputeUnit.ALL, ct.ComputeUnit.CPU_AND_GPU])
def test_the_users_word_lets_the_passes_act_for_other_units(program, units):
    arguments = options(units, inputs=inputs(SHAPE))
    assert fused(ane_rms.convert(program, for_ane=True, **arguments)) == 1
    with ane_rms.installed(for_ane=True):
        assert fused(ct.convert(program, **arguments)) == 1
    assert fused(ct.convert(program, pass_pipeline=ane_rms.pipeline(units, for_ane=True), **arguments)) == 1


def test_the_parameters_are_those_of_coremltools_in_its_order():
    theirs = list(inspect.signature(ct.convert).parameters)
    ours = inspect.signature(ane_rms.convert).parameters
    assert list(ours)[: len(theirs)] == theirs
    assert all(one.kind is inspect.Parameter.KEYWORD_ONLY for one in list(ours.values())[len(theirs) :])
