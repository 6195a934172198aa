"""Massive channels: the residual stream of a seeded model reaches its peak, and later norms bring it down again."""

from __future__ import annotations

import msgspec
import pytest
import torch

from harness.errors import ExportError
from harness.export.build import build, seeded_tokens
from harness.export.massive import CHANNEL, make_massive
from harness.plan.shapes import LENGTH
from harness.zoo.catalog import load_zoo

ZOO = load_zoo()


def streams(spec):
    """Return what enters and what leaves the last norm of a model on its own tokens."""
    network = build(spec)
    seen = []
    network.model.norm.register_forward_hook(lambda _module, given, made: seen.append((given[0], made)))
    network(input_ids=torch.from_numpy(seeded_tokens(spec.gamma_seed, network.config.vocab_size, LENGTH)).long())
    return seen[0]


@pytest.mark.parametrize("key", ["llama", "qwen3", "gemma3_text", "olmo2", "helium"])
def test_the_stream_reaches_the_peak_on_every_token_and_stays_below_float16(key):
    spec = ZOO[key]
    stream, normalised = streams(spec)
    magnitude = stream[..., CHANNEL].abs()
    assert float(magnitude.max()) == pytest.approx(spec.residual_peak, rel=0.05)
    assert float(magnitude.min()) > 256
    assert float(stream.abs().max()) < 65_504
    others = torch.cat([normalised[..., :CHANNEL], normalised[..., CHANNEL + 1 :]], -1)
    assert 0.3 < float(others.square().mean().sqrt()) < 3


def test_a_wide_stream_is_larger_than_the_channel_by_its_number_and_is_found():
    """Among the 2,048 channels of the published Llama, one of 410 makes a row four times as large, and no more."""
    wide = {**ZOO["llama"].quick, "hidden_size": 1024, "num_hidden_layers": 1, "initializer_range": 0.08}
    spec = msgspec.structs.replace(ZOO["llama"], quick=wide)
    stream, normalised = streams(spec)
    others = torch.cat([stream[..., :CHANNEL], stream[..., CHANNEL + 1 :]], -1)
    assert float((stream.norm(dim=-1) / others.norm(dim=-1)).median()) < 4
    assert float(stream[..., CHANNEL].abs().max()) == pytest.approx(spec.residual_peak, rel=0.05)
    assert float(normalised[..., CHANNEL].abs().max()) < 3


@pytest.mark.parametrize("key", ["llama", "olmo"])
def test_a_tame_model_stays_far_below_it(key):
    stream, _ = streams(msgspec.structs.replace(ZOO[key], activations="tame"))
    assert float(stream.abs().max()) < 16


def test_a_channel_that_no_norm_sees_is_refused_with_the_mend():
    network = build(msgspec.structs.replace(ZOO["llama"], activations="tame"))
    with pytest.raises(ExportError, match="no norm reads its massive channel: set activations = 'tame'"):
        make_massive(network, torch.zeros(1, LENGTH, dtype=torch.int32), 1e-3)
