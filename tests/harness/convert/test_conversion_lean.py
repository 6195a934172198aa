"""A lean conversion gives the package that a plain one gives, over the zoo's architectures."""

from __future__ import annotations

from functools import cache

import coremltools as ct
import pytest

import ane_rms
from ane_rms import mapped_arrays
from ane_rms.coremltools_patches.lean import spill
from harness.convert import torch_ops
from harness.export import export
from harness.zoo.catalog import load_zoo
from tests.ane_rms.coremltools_patches.lean.identity import assert_same, outcome
from tests.mil_tools import NE, UNITS

ZOO = load_zoo()
QUICK = [key for key, spec in ZOO.items() if spec.tier == "quick"]
NIGHTLY = [key for key, spec in ZOO.items() if spec.tier == "nightly" and not spec.unconvertible]
TARGETS = [ct.target.iOS15, ct.target.iOS16, ct.target.iOS17, ct.target.iOS18]


@pytest.fixture(autouse=True)
def _every_array_is_large(monkeypatch):
    monkeypatch.setattr(spill, "SMALLEST_ELEMENTS", 1)
    monkeypatch.setattr(mapped_arrays, "CHUNK_ELEMENTS", 1000)


@cache
def exported(key, frontend):
    return export(ZOO[key], frontend=frontend)


def check(key, units, frontend="trace", precision=ct.precision.FLOAT16, target=ct.target.iOS17):
    """Compare with plain ``ct.convert``; for the Neural Engine, with the same fusion through a plain conversion."""
    model = exported(key, frontend)
    arguments = {
        "inputs": model.ct_inputs(),
        "convert_to": "mlprogram",
        "compute_precision": precision,
        "minimum_deployment_target": target,
        "skip_model_load": True,
    }
    if units is not None:
        arguments["compute_units"] = units
    plain = ane_rms.convert if units == NE else ct.convert
    with torch_ops.registered():
        expected = outcome(lambda: plain(model.program, **arguments))
        lean = outcome(lambda: ane_rms.convert(model.program, lean=True, **arguments))
    assert_same(expected, lean)
    return expected


@pytest.mark.parametrize(
    ("key", "units", "frontend", "precision", "target"),
    [
        ("llama", NE, "trace", ct.precision.FLOAT16, ct.target.iOS17),
        ("gemma3_text", ct.ComputeUnit.ALL, "export", ct.precision.FLOAT16, ct.target.iOS18),
        ("qwen3", ct.ComputeUnit.CPU_AND_GPU, "trace", ct.precision.FLOAT32, ct.target.iOS16),
        ("phi3", NE, "export", ct.precision.FLOAT32, ct.target.iOS18),
        ("olmo", None, "trace", ct.precision.FLOAT16, ct.target.iOS15),
    ],
)
def test_some_of_each(key, units, frontend, precision, target):
    check(key, units, frontend, precision, target)


@pytest.mark.slow
@pytest.mark.parametrize("units", UNITS)
@pytest.mark.parametrize("frontend", ["trace", "export"])
@pytest.mark.parametrize("key", QUICK)
def test_the_quick_tier(key, frontend, units):
    assert check(key, units, frontend)[0] == "model"


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("precision", [ct.precision.FLOAT16, ct.precision.FLOAT32])
@pytest.mark.parametrize("key", ["llama", "gemma2", "qwen3", "t5_encoder", "mamba"])
def test_targets_and_precisions(key, precision, target):
    for units in (ct.ComputeUnit.CPU_ONLY, NE):
        check(key, units, precision=precision, target=target)


@pytest.mark.slow
@pytest.mark.parametrize("key", NIGHTLY)
def test_the_nightly_tier(key):
    for units in (ct.ComputeUnit.ALL, NE):
        check(key, units)
