"""What fails at one site: a miss with the exception's text, and everything else goes on."""

from __future__ import annotations

from dataclasses import replace

import coremltools as ct
import numpy as np
import pytest
from coremltools.converters.mil.mil import Builder as mb

import ane_rms
from ane_rms.attempt import Failure, attempt
from ane_rms.grammar import norm as norms
from ane_rms.passes import fuse
from ane_rms.passes.strategies import STRATEGIES
from harness.interpreter import ReferenceModel
from tests.mil_tools import NE, op_types, options, rms_norm64

SHAPE = (4, 16)
KEPT = options(NE, compute_precision=ct.precision.FLOAT32, minimum_deployment_target=ct.target.iOS17)
X = np.random.default_rng(3).standard_normal(SHAPE).astype(np.float32)


def two_norms():
    @mb.program(input_specs=[mb.TensorSpec(shape=SHAPE)], opset_version=ct.target.iOS17)
    def program(x):
        for name in ("first", "second"):
            mean = mb.reduce_mean(x=mb.square(x=x), axes=[-1], keep_dims=True)
            inverse = mb.rsqrt(x=mb.add(x=mean, y=np.float32(1e-3)), epsilon=np.float32(1e-30))
            x = mb.mul(x=x, y=inverse, name=name)
        return x

    return program


def test_an_exception_is_kept_as_one_line():
    def fails():
        raise KeyError("a\nb")

    assert attempt(fails) == Failure("KeyError: 'a\\nb'")
    assert attempt(lambda: 3) == 3


def test_an_interruption_is_no_failure():
    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attempt(interrupted)


def failing_once(function, name):
    """Return ``function``, raising where the value it is about has a name."""

    def wrapped(one, *args, **kwargs):
        op = getattr(one, "op", one)
        if name in (getattr(getattr(op, "site", None), "name", ""), op.outputs[0].name):
            raise ZeroDivisionError("no such site")
        return function(one, *args, **kwargs)

    return wrapped


@pytest.mark.parametrize("where", ["matching", "building", "lowering"])
def test_a_failure_at_one_site_is_a_miss_and_the_other_fuses(where, monkeypatch):
    if where == "matching":
        for recognise in (norms.rms_norm, norms.rms_norm_within):
            monkeypatch.setattr(f"ane_rms.scan.{recognise.__name__}", failing_once(recognise, "first"))
    elif where == "building":
        monkeypatch.setattr(fuse, "fused", failing_once(fuse.fused, "first"))
    else:
        chosen = STRATEGIES["layer_norm"]
        failing = replace(chosen, build=failing_once(chosen.build, "first"))
        monkeypatch.setitem(STRATEGIES._entries, "layer_norm", failing)
    monkeypatch.setenv("ANE_RMS_CHECK_PASSES", "")
    model = ane_rms.convert(two_norms(), **KEPT)
    report = ane_rms.report(model)
    assert [site.name for site in report.fused] == ["second"]
    assert any("ZeroDivisionError: no such site" in miss.reason for miss in report.missed)
    assert op_types(model).count("layer_norm") == 1
    (actual,) = ReferenceModel(model, "fp32").predict({"x": X}).values()
    once = rms_norm64(X, None, 1e-3)
    np.testing.assert_allclose(actual, rms_norm64(once, None, 1e-3), rtol=3e-6, atol=1e-6)


@pytest.mark.parametrize("written", ["in primitives", "as the op"])
def test_a_failure_in_one_function_leaves_the_site_of_the_same_name_in_another(written, monkeypatch):
    def function(epsilon):
        @mb.function(input_specs=[mb.TensorSpec(shape=SHAPE)], opset_version=ct.target.iOS18)
        def made(x):
            if written == "as the op":
                return mb.ane_rms_norm(x=x, epsilon=epsilon, name="normed")
            mean = mb.reduce_mean(x=mb.square(x=x), axes=[-1], keep_dims=True)
            return mb.mul(x=x, y=mb.rsqrt(x=mb.add(x=mean, y=epsilon), epsilon=np.float32(1e-30)), name="normed")

        return made

    program = ct.converters.mil.mil.Program()
    for name, epsilon in (("prefill", 1e-3), ("decode", 1e-4)):
        program.add_function(name, function(np.float32(epsilon)))
    chosen = STRATEGIES["layer_norm"]

    def failing_in_decode(op):
        if op.epsilon.val < 5e-4:
            raise ZeroDivisionError("no such site")
        return chosen.build(op)

    monkeypatch.setitem(STRATEGIES._entries, "layer_norm", replace(chosen, build=failing_in_decode))
    monkeypatch.setenv("ANE_RMS_CHECK_PASSES", "")
    report = ane_rms.report(ane_rms.convert(program, **{**KEPT, "minimum_deployment_target": ct.target.iOS18}))
    assert [(site.name, site.epsilon) for site in report.fused] == [("normed", pytest.approx(1e-3))]
    assert [miss.name for miss in report.missed] == ["normed"]


def test_looking_for_a_lowered_norm_that_raises_makes_a_miss_of_it(monkeypatch):
    def fails(_):
        raise ZeroDivisionError("no such row")

    @mb.program(input_specs=[mb.TensorSpec(shape=SHAPE)], opset_version=ct.target.iOS17)
    def program(x):
        return mb.layer_norm(x=x, axes=[-1], epsilon=np.float32(1e-3), name="normed")

    monkeypatch.setattr("ane_rms.grammar.lowered.doubled", fails)
    (miss,) = ane_rms.find(program).missed
    assert (miss.name, miss.reason) == ("normed", "looking at it failed with ZeroDivisionError: no such row")
