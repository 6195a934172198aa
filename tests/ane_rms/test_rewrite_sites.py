"""Each norm of a finished package is a transaction: what one of them cannot have leaves the others rewritten."""

from __future__ import annotations

from dataclasses import replace

import coremltools as ct
import numpy as np
import pytest
from coremltools.converters.mil.mil import Builder as mb
from coremltools.converters.mil.mil import types

import ane_rms
from ane_rms.passes.primitives import Unlowerable
from ane_rms.passes.strategies import STRATEGIES
from tests.mil_tools import predict, rms_norm64

D = 64
SHAPE = (2, 8, D)
GAMMA = np.linspace(0.5, 1.5, D, dtype=np.float32)


def rms_norm(x, *, gamma=GAMMA, axes=(-1,), epsilon=1e-5):
    mean = mb.reduce_mean(x=mb.mul(x=x, y=x), axes=list(axes), keep_dims=True)
    root = mb.rsqrt(x=mb.add(x=mean, y=np.asarray(epsilon, gamma.dtype)[()]), epsilon=1e-12)
    return mb.mul(x=mb.mul(x=x, y=root), y=gamma)


def package(build, *, precision=ct.precision.FLOAT32, kind=types.fp32):
    spec = [mb.TensorSpec(SHAPE, dtype=kind)]
    program = mb.program(input_specs=spec, opset_version=ct.target.iOS17)(build)
    return ct.convert(
        program,
        skip_model_load=True,
        convert_to="mlprogram",
        compute_precision=precision,
        minimum_deployment_target=ct.target.iOS17,
    )


@pytest.fixture
def failing():
    """Register a lowering that raises at the norm of epsilon 2e-5, and does not support that of 3e-5."""

    def build(op):
        if np.isclose(op.epsilon.val, 2e-5):
            raise RuntimeError("no such norm")
        if np.isclose(op.epsilon.val, 3e-5):
            raise Unlowerable("takes no such epsilon")
        return STRATEGIES["layer_norm"].build(op)

    STRATEGIES.add("failing", replace(STRATEGIES["layer_norm"], build=build))
    yield "failing"
    STRATEGIES.remove("failing")


def three(x):
    return rms_norm(rms_norm(rms_norm(x), epsilon=2e-5), epsilon=3e-5)


def test_a_lowering_that_raises_at_one_norm_makes_a_miss_of_it(failing):
    model = package(three)
    done = ane_rms.rewrite(model, lowering=failing, skip_model_load=True)
    report = ane_rms.report(done)
    assert [site.epsilon for site in report.fused] == [pytest.approx(1e-5), pytest.approx(3e-5)]
    (miss,) = report.missed
    assert "RuntimeError: no such norm" in miss.reason
    assert [one.reason for one in report.warnings] == [
        "lowering='failing' takes no such epsilon: it is expanded into primitives"
    ]
    x = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    np.testing.assert_allclose(predict(done, x), predict(model, x), rtol=1e-5, atol=1e-6)


def test_a_norm_that_stands_lowered_stays_if_another_lowering_does_not_take_it(failing):
    lowered = ane_rms.rewrite(package(three), skip_model_load=True)
    report = ane_rms.report(ane_rms.rewrite(lowered, lowering=failing, skip_model_load=True))
    assert [site.epsilon for site in report.lowered] == [pytest.approx(2e-5), pytest.approx(3e-5)]
    assert [site.form for site in report.lowered] == ["layer_norm"] * 2
    assert len(report.fused) == 1
    assert [one.reason for one in report.warnings] == [
        "lowering='failing' does not support it: it stays lowered as layer_norm"
    ] * 2


def test_building_that_raises_at_one_norm_leaves_it_as_it_was(monkeypatch):
    from ane_rms.package import emit

    build = emit.fused

    def raises(norm, site):
        if norm.epsilon > 2.5e-5:
            raise MemoryError("of this norm")
        return build(norm, site)

    monkeypatch.setattr(emit, "fused", raises)
    model = package(three)
    done = ane_rms.rewrite(model, skip_model_load=True)
    report = ane_rms.report(done)
    assert len(report.fused) == 2
    assert [miss.reason for miss in report.missed] == [
        "building the lowered norm failed with MemoryError: of this norm"
    ]
    x = np.random.default_rng(1).standard_normal(SHAPE).astype(np.float32)
    np.testing.assert_allclose(predict(done, x), predict(model, x), rtol=1e-5, atol=1e-6)


def test_norms_of_equal_gammas_share_the_first_constant():
    model = package(lambda x: rms_norm(rms_norm(x, gamma=GAMMA.copy()), gamma=GAMMA.copy(), epsilon=1e-4))
    done = ane_rms.rewrite(model, skip_model_load=True)
    x = np.random.default_rng(3).standard_normal(SHAPE).astype(np.float32)
    expected = rms_norm64(rms_norm64(x, GAMMA, 1e-5), GAMMA, 1e-4)
    np.testing.assert_allclose(predict(done, x), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("lowering", STRATEGIES)
def test_a_gamma_beyond_float16_stays_in_float32(lowering):
    gamma = GAMMA * np.float32(60_000)

    def half(x):
        row = mb.cast(x=x, dtype="fp16")
        root = mb.rsqrt(
            x=mb.add(x=mb.reduce_mean(x=mb.mul(x=row, y=row), axes=[-1], keep_dims=True), y=np.float16(1e-5)),
            epsilon=np.float16(1e-7),
        )
        return mb.mul(x=mb.cast(x=mb.mul(x=row, y=root), dtype="fp32"), y=gamma)

    done = ane_rms.rewrite(package(half), lowering=lowering, skip_model_load=True)
    assert len(ane_rms.report(done).fused) == 1
    x = np.random.default_rng(2).standard_normal(SHAPE).astype(np.float32)
    expected = rms_norm64(x.astype(np.float16), gamma, 1e-5)
    np.testing.assert_allclose(predict(done, x, "fp16"), expected, rtol=5e-3, atol=1e-3 * gamma.max())
