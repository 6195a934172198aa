"""Calibration measures what a program's values reach, and what was scaled by it stays in range."""

from __future__ import annotations

import numpy as np
import pytest

from harness.convert.conversion import convert
from harness.export import export
from harness.measure.calibration import Calibration
from harness.plan.shapes import Shape
from harness.plan.variants import VARIANTS
from harness.zoo.catalog import load_zoo


def loud(monkeypatch, factor):
    """Have every model built with its residual writers times a factor."""
    import harness.export

    build = harness.export.build

    def louder(spec, **more):
        network = build(spec, **more)
        for layer in network.model.layers:
            layer.self_attn.o_proj.weight.data *= factor
            layer.mlp.down_proj.weight.data *= factor
        return network

    monkeypatch.setattr(harness.export, "build", louder)


@pytest.fixture
def exported(monkeypatch, request):
    loud(monkeypatch, 1e6)
    return export(load_zoo()["llama"], shape=request.param)


@pytest.mark.parametrize("exported", [Shape("prefill", 8)], indirect=True)
def test_auto_keeps_the_outputs_of_a_stream_beyond_float16(exported):
    from harness.measure.model_precision import Trial, measure

    calibration = Calibration(exported.runs)
    converted = convert(exported, VARIANTS["on"], rescale=calibration.rescaling)
    trial = Trial.of(exported)
    assert max(calibration.peaks().values()) > 65_504
    assert measure(trial, converted, "fp16")["rel_l2"] < 5e-3
    plain = convert(exported, VARIANTS["on"])
    assert not measure(trial, plain, "fp16")["rel_l2"] < 0.5


@pytest.mark.parametrize("exported", [Shape("both", 8)], indirect=True)
def test_functions_that_share_weights_are_scaled_alike(exported):
    calibration = Calibration(exported.runs)
    converted = convert(exported, VARIANTS["on"], rescale=calibration.rescaling)
    import ane_rms

    factors = {name: [one.factor for one in ane_rms.report(model).rescaled] for name, model in converted.models.items()}
    assert factors["prefill"] == factors["decode"] != []


@pytest.mark.parametrize("exported", [Shape("prefill", 8)], indirect=True)
def test_watching_measures_and_rescales_nothing(exported):
    import ane_rms

    calibration = Calibration(exported.runs)
    converted = convert(exported, VARIANTS["on"], rescale=calibration.watching)
    assert ane_rms.report(converted.model).rescaled == ()
    assert calibration.peaks()
    assert np.isfinite(list(calibration.peaks().values())).all()
