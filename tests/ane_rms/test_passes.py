"""The passes by themselves and in a conversion: for which compute units they act, and what they leave alone."""

from __future__ import annotations

from pathlib import Path

import coremltools as ct
import numpy as np
import pytest
from coremltools.converters.mil.mil import Builder as mb
from coremltools.converters.mil.mil.passes.graph_pass import PassOption
from coremltools.converters.mil.mil.passes.pass_registry import PASS_REGISTRY

import ane_rms
from harness.interpreter import ReferenceModel
from tests.ane_rms.spellings import SPELLINGS, D
from tests.mil_tools import (
    NE,
    UNITS,
    Norm,
    inputs,
    op_types,
    options,
    predict,
    regimes,
    rms_norm64,
    torch_program,
)

FUSE = "common::fuse_rms_norm"
LOWER = "common::lower_ane_rms_norm_to_layer_norm"
EXPAND = "common::expand_ane_rms_norm"
SHAPE = (2, 8, D)


def name_of(units):
    return "unset" if units is None else units.name


def primitive_program(opset=ct.target.iOS17):
    """Return RMSNorm in primitives."""

    @mb.program(input_specs=[mb.TensorSpec(shape=SHAPE)], opset_version=opset)
    def program(x):
        mean = mb.reduce_mean(x=mb.square(x=x), axes=[-1], keep_dims=True)
        normal = mb.mul(x=x, y=mb.rsqrt(x=mb.add(x=mean, y=np.float32(1e-6))))
        return mb.mul(x=normal, y=np.linspace(0.5, 1.5, D, dtype=np.float32), name="y")

    return program


def run_pass(program, name, units, **more):
    graph_pass = PASS_REGISTRY[name]
    given = {} if units is None else {"compute_units": units}
    graph_pass.set_options([PassOption(key, value) for key, value in {**given, **more}.items()])
    graph_pass(program)
    program.validate()
    return program


@pytest.mark.parametrize("units", UNITS, ids=name_of)
@pytest.mark.parametrize("as_text", [False, True])
def test_fusion_acts_for_cpu_and_ne_alone(units, as_text, ledger):
    program = primitive_program()
    before = str(program)
    run_pass(program, FUSE, units.name if as_text and units is not None else units)
    acted = op_types(program) == ["ane_rms_norm"]
    assert acted is (units is NE)
    assert acted or str(program) == before
    ledger.note("compute units", name_of(units), "fusion", "applied" if acted else "left alone")


@pytest.mark.parametrize("units", UNITS, ids=name_of)
def test_lowering_acts_for_cpu_and_ne_alone(units, ledger):
    program = run_pass(primitive_program(), FUSE, NE)
    before = str(program)
    run_pass(program, LOWER, units)
    acted = "layer_norm" in op_types(program)
    assert acted is (units is NE)
    assert acted or str(program) == before
    ledger.note("compute units", name_of(units), "lowering", "applied" if acted else "left alone")


def test_an_unknown_compute_unit_or_lowering_is_refused():
    with pytest.raises(ValueError, match="unknown compute unit 'NPU'"):
        run_pass(primitive_program(), FUSE, "NPU")
    with pytest.raises(ValueError, match="unknown lowering 'layernorm'; did you mean 'layer_norm'"):
        run_pass(primitive_program(), LOWER, NE, lowering="layernorm")
    with pytest.raises(ValueError, match="unknown lowering"):
        ane_rms.pipeline(ct.ComputeUnit.ALL, lowering="nothing-of-the-kind")


@pytest.mark.parametrize("name", [FUSE, LOWER, EXPAND])
def test_a_second_run_changes_nothing(name):
    program = primitive_program()
    for each in (FUSE, LOWER, EXPAND):
        run_pass(program, each, None if each == EXPAND else NE)
        if each == name:
            break
    before = str(program)
    run_pass(program, name, None if name == EXPAND else NE)
    assert str(program) == before


@pytest.mark.parametrize("frontend", ["trace", "export"])
@pytest.mark.parametrize("units", UNITS, ids=name_of)
def test_convert_is_ct_convert_except_for_cpu_and_ne(units, frontend):
    case = SPELLINGS["A: gamma * (...).to"]
    program = torch_program(Norm(case.function), SHAPE, frontend)
    arguments = options(units, minimum_deployment_target=ct.target.iOS17)
    mb.name_count.clear()  # coremltools numbers new values through a process; a conversion starts it anew when it ends
    ours = ane_rms.convert(program, inputs=inputs(SHAPE), **arguments)
    plain = ct.convert(program, inputs=inputs(SHAPE), **arguments)

    report = ane_rms.report(ours)
    assert report.compute_units == ("" if units is None else units.name)
    if units is NE:
        assert len(report.fused) == 1
        ops = [op_type for op_type in op_types(ours) if op_type != "cast"]  # of the float32 input
        assert ops == ["mul", "concat", "layer_norm", "slice_by_index", "mul"]
        return
    assert report.fused == report.missed == ()
    assert ours.get_spec().mlProgram == plain.get_spec().mlProgram
    weights = [Path(model.weights_dir, "weight.bin") for model in (ours, plain)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_a_shared_intermediate_stays_and_is_right():
    gamma = np.linspace(0.5, 1.5, D, dtype=np.float32)

    @mb.program(input_specs=[mb.TensorSpec(shape=SHAPE)], opset_version=ct.target.iOS17)
    def program(x):
        mean = mb.reduce_mean(x=mb.square(x=x), axes=[-1], keep_dims=True, name="mean")
        inverse = mb.rsqrt(x=mb.add(x=mean, y=np.float32(1e-6)), name="inverse")
        normal = mb.mul(x=x, y=inverse, name="normal")
        return mb.mul(x=normal, y=gamma, name="scaled"), normal, inverse

    model = ane_rms.convert(
        program,
        **options(NE, minimum_deployment_target=ct.target.iOS17, compute_precision=ct.precision.FLOAT32),
    )
    assert [site.name for site in ane_rms.report(model).fused] == ["normal"]
    x = regimes(SHAPE)
    found = ReferenceModel(model).predict({"x": x})
    np.testing.assert_allclose(found["normal"], rms_norm64(x, None, 1e-6), rtol=2e-6, atol=2e-6)
    np.testing.assert_allclose(found["scaled"], rms_norm64(x, gamma, 1e-6), rtol=2e-6, atol=2e-6)
    expected = 1 / np.sqrt((x.astype(np.float64) ** 2).mean(-1, keepdims=True) + 1e-6)
    np.testing.assert_allclose(found["inverse"], expected, rtol=2e-6)


@pytest.mark.parametrize("place", ["branch", "program"])
def test_a_scaled_norm_inside_a_branch_of_a_cond_is_one_site(place):
    """Its gamma is a constant of the branch or of the program around it."""
    weight = np.linspace(0.5, 1.5, D, dtype=np.float32)

    @mb.program(input_specs=[mb.TensorSpec(shape=SHAPE), mb.TensorSpec(shape=(1,))], opset_version=ct.target.iOS17)
    def program(x, flag):
        gamma = mb.const(val=weight) if place == "program" else None

        def norm():
            mean = mb.reduce_mean(x=mb.square(x=x), axes=[-1], keep_dims=True)
            value = mb.mul(x=x, y=mb.rsqrt(x=mb.add(x=mean, y=np.float32(1e-5))))
            return mb.mul(x=value, y=weight if gamma is None else gamma)

        positive = mb.squeeze(x=mb.greater(x=flag, y=np.float32(0)))
        return mb.cond(pred=positive, _true_fn=norm, _false_fn=lambda: mb.mul(x=x, y=np.float32(2)))

    model = ane_rms.convert(
        program,
        **options(NE, minimum_deployment_target=ct.target.iOS17, compute_precision=ct.precision.FLOAT32),
    )
    assert [site.has_gamma for site in ane_rms.report(model).fused] == [True]
    assert ane_rms.report(model).missed == ()
    x = regimes(SHAPE)
    for flag, expected in ((1.0, rms_norm64(x, weight, 1e-5)), (-1.0, x * 2)):
        (found,) = ReferenceModel(model).predict({"x": x, "flag": np.float32([flag])}).values()
        np.testing.assert_allclose(found, expected, rtol=2e-6, atol=2e-6)


def test_find_only_reads():
    program = primitive_program()
    before = str(program)
    (site,) = ane_rms.find(program).fused
    assert (site.name, site.epsilon, site.has_gamma) == ("y", 1e-6, True)
    assert str(program) == before
    with pytest.raises(TypeError, match="takes a MIL program"):
        ane_rms.find("a string")


def test_a_value_with_two_readers_takes_gamma_in_neither_place_twice():
    def norm(x, w):
        normal = x * (x.pow(2).mean(-1, keepdim=True) + 1e-6).rsqrt()
        return normal * w + normal * 2

    model = ane_rms.convert(
        torch_program(Norm(norm), SHAPE),
        inputs=inputs(SHAPE),
        **options(NE, minimum_deployment_target=ct.target.iOS17, compute_precision=ct.precision.FLOAT32),
    )
    assert [site.has_gamma for site in ane_rms.report(model).fused] == [False]
    x = regimes(SHAPE)
    weight = Norm(norm).weight.numpy()
    normal = rms_norm64(x, None, 1e-6)
    np.testing.assert_allclose(predict(model, x), normal * weight + normal * 2, rtol=3e-6, atol=3e-6)
