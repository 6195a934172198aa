"""A rescale of the residual stream leaves every zoo model's outputs alone, in every shape and from both frontends."""

from __future__ import annotations

import numpy as np
import pytest

import ane_rms
from harness.convert.conversion import convert
from harness.errors import HarnessError
from harness.export import export
from harness.interpreter import ReferenceModel
from harness.plan.shapes import Shape
from harness.plan.variants import VARIANTS
from harness.zoo.catalog import load_zoo

ZOO = load_zoo()
QUICK = [("smollm2", "prefill", "export"), ("gemma3_text", "decode", "trace")]
ALL = [(key, kind, "trace") for key in ZOO for kind in ("prefill", "decode", "flexible", "both")]


def outputs(model, inputs):
    """Return a program's outputs in float64, for one call on empty states."""
    reference = ReferenceModel(model, "fp64")
    state = (reference.make_state(),) if reference.function.states else ()
    return [value.numpy() for value in reference.evaluate(dict(inputs), *state).values()]


@pytest.mark.parametrize(
    ("key", "kind", "frontend"),
    [*QUICK, *(pytest.param(*one, marks=pytest.mark.slow) for one in ALL if one not in QUICK)],
)
def test_outputs_are_the_same(key, kind, frontend):
    if ZOO[key].unconvertible:
        pytest.skip(f"{key} does not convert: {ZOO[key].unconvertible}")
    try:
        exported = export(ZOO[key], shape=Shape(kind, 8), frontend=frontend)
        plain = convert(exported, VARIANTS["on"], compute_precision="FLOAT32")
    except HarnessError as error:
        pytest.skip(f"{key} has no shape {kind}: {error}")
    scaled = convert(exported, VARIANTS["on"], compute_precision="FLOAT32", rescale=lambda _: 2.0**-3)
    regions = ane_rms.report(scaled.model).rescaled
    if not ane_rms.report(plain.model).fused:
        assert regions == ()
        pytest.skip(f"{key} has no norm, and so no region to scale")
    assert regions
    for function in exported.functions:
        outputs_of = {var.name for var in scaled.models[function.name]._mil_program["main"].outputs}
        assert not outputs_of.intersection(name for one in regions for name in one.values)
        pair = [outputs(one.models[function.name], function.inputs) for one in (plain, scaled)]
        for expected, actual in zip(*pair, strict=True):
            scale = np.abs(expected).max()
            np.testing.assert_allclose(actual / scale, expected / scale, rtol=0, atol=1e-12)
