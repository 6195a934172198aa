"""Every kind of rotary embedding converts in prefill, and gives the eager model's logits."""

from __future__ import annotations

import math

import msgspec
import pytest
import torch

from harness.convert.conversion import convert
from harness.export import export, rotary
from harness.export.build import build
from harness.interpreter import ReferenceModel
from harness.measure import metrics
from harness.plan.shapes import Shape
from harness.plan.variants import VARIANTS
from harness.zoo.catalog import load_zoo

LENGTH = 12
KINDS = {
    "default": {},
    "linear": {"factor": 2.0},
    "dynamic": {"factor": 2.0},
    "yarn": {"factor": 2.0, "original_max_position_embeddings": 8},
    "llama3": {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8},
    "longrope": {
        "short_factor": [1.0] * 16,
        "long_factor": [2.0] * 16,
        "factor": 2.0,
        "original_max_position_embeddings": 8,
    },
}


def model(kind):
    """Return a zoo entry with rotary embeddings of a kind; 8 positions are its original ones."""
    spec = load_zoo()["llama"]
    width = spec.config("quick").head_dim
    fields = dict(KINDS[kind])
    for name in ("short_factor", "long_factor"):
        if name in fields:
            fields[name] = fields[name][0:1] * (width // 2)
    parameters = {"rope_type": kind, "rope_theta": 1e4, **fields}
    quick = {**spec.quick, "rope_parameters": parameters, "max_position_embeddings": 8 if kind == "dynamic" else 32}
    return msgspec.structs.replace(spec, full={**spec.full, "rope_parameters": parameters}, quick=quick)


@pytest.mark.parametrize("kind", KINDS)
def test_it_converts_to_the_eager_logits(kind):
    exported = export(model(kind), shape=Shape("prefill", LENGTH))
    converted = convert(exported, VARIANTS["off"], compute_precision="FLOAT32")
    with torch.inference_mode():
        expected = exported.module(torch.from_numpy(exported.tokens)).numpy()
    (actual,) = ReferenceModel(converted.model, "fp32").predict(exported.inputs).values()
    assert metrics.rel_l2(expected, actual) < 1e-5  # float32 in another order


def test_longrope_has_the_frequencies_of_inputs_longer_than_the_original_context():
    """At 32 tokens, beyond the original 16: cos(p / (theta^(2i/d) * long_i)) * sqrt(1 + ln 8 / ln 16)."""
    spec = load_zoo()["phi3_longrope"]
    network = build(spec)
    factors = torch.tensor(spec.quick["rope_parameters"]["long_factor"], dtype=torch.float64)
    frequencies = 1e4 ** (-torch.arange(0, 32, 2, dtype=torch.float64) / 32) / factors
    angles = torch.outer(torch.arange(32, dtype=torch.float64), frequencies)
    with rotary.tabled(network, 32, only_changing=True):
        cosines, _ = network.model.rotary_emb(torch.zeros(1, 32), torch.arange(32)[None])
    expected = torch.cat([angles, angles], -1).cos() * math.sqrt(1 + math.log(8) / math.log(16))
    torch.testing.assert_close(cosines[0].double(), expected, rtol=0, atol=1e-5)  # angles up to 31, in float32


def test_only_the_kinds_that_look_at_positions_are_tabled_in_prefill():
    for kind in KINDS:
        network = build(model(kind))
        with rotary.tabled(network, LENGTH, only_changing=True):
            tabled = any(isinstance(module, rotary.RotaryTable) for module in network.modules())
        assert tabled == (kind in ("dynamic", "longrope"))
        assert not any(isinstance(module, rotary.RotaryTable) for module in network.modules())
