"""The op at which a program of unfused norms collapses, named with its norm."""

from __future__ import annotations

import msgspec
import pytest
import torch

from harness.measure.collapse import collapse_sentence
from harness.records.schema import SiteRecord
from tests.harness.measure.converted_networks import converted_network

PEAK = 300.0
"""300 squared is 90,000: beyond float16's 65,504."""


class Network(torch.nn.Module):
    """Two norms, the second of values up to ``peak``, beside a mask of -inf."""

    def __init__(self, peak):
        super().__init__()
        self.peak = peak
        self.embedding = torch.nn.Embedding(4, 8)
        self.embedding.weight.data = torch.linspace(0.1, 1.0, 32).reshape(4, 8)

    def forward(self, input_ids):
        """Return (1, 4, 8) values."""
        x = self.norm(self.embedding(input_ids))
        masked = torch.where(x > 0.5, x, torch.full_like(x, float("-inf"))).softmax(-1)
        return self.norm(x / x.amax() * self.peak + masked)

    def norm(self, x):
        """Return x over the root of its mean square."""
        return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + 1e-6)


def converted(peak):
    return converted_network(Network(peak).eval())


def last_norm(model):
    """Return the site of the program's last norm: its result is the program's."""
    (function,) = model.model._mil_program.functions.values()
    products = [op.outputs[0].name for op in function.operations if op.op_type == "mul"]
    return SiteRecord(products[-1], "network.layers.7.norm", fused=False, spelling="rsqrt", shape=(1, 4, 8))


@pytest.mark.parametrize("policy", ["fp16", "ane-m1", "ane-m5"])
def test_the_norm_whose_squares_overflow_is_named_with_its_layer_and_peak(policy):
    model, trial = converted(PEAK)
    sentence = collapse_sentence(trial, model, policy, [last_norm(model)])
    assert "collapses first at layer 7, network.layers.7.norm (mul " in sentence
    assert "the norm's sum of squares overflows float16" in sentence
    reached = float(sentence.rpartition("reaches ")[2].rstrip(")").replace(",", ""))
    assert reached == pytest.approx(PEAK**2, rel=0.02)


def test_a_norm_of_a_program_that_names_no_modules_is_named_by_its_result():
    model, trial = converted(PEAK)
    site = msgspec.structs.replace(last_norm(model), module="")
    sentence = collapse_sentence(trial, model, "fp16", [site])
    assert f"collapses first at norm {site.name} (mul " in sentence
    assert "the norm's sum of squares overflows float16" in sentence


def test_a_package_gives_the_sentence_of_the_model_that_it_was_saved_from(tmp_path):
    model, trial = converted(PEAK)
    sites = [last_norm(model)]
    model.save(tmp_path / "saved.mlpackage")
    saved = collapse_sentence(trial, str(tmp_path / "saved.mlpackage"), "fp16", sites)
    assert saved == collapse_sentence(trial, model, "fp16", sites)


def test_no_op_is_blamed_where_float16_holds_every_value_but_a_mask():
    model, trial = converted(10.0)
    sentence = collapse_sentence(trial, model, "fp16", [last_norm(model)])
    assert sentence == "collapses: no op of the program leaves float32 by itself"
