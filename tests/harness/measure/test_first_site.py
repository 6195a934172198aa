"""The first op that goes wrong: named with its layer, and the mend."""

from __future__ import annotations

import pytest
import torch

from harness.measure.first_site import first_site
from tests.harness.measure.converted_networks import converted_network


class Layer(torch.nn.Module):
    """A layer whose product is ``gain`` times its input squared."""

    def __init__(self, gain):
        super().__init__()
        self.gain = gain

    def forward(self, x):
        """Return (..., 8) values."""
        return x * (x * self.gain)


class Network(torch.nn.Module):
    """An embedding of ones, three layers, and a half."""

    def __init__(self, gains):
        super().__init__()
        self.embedding = torch.nn.Embedding(4, 8)
        self.embedding.weight.data = torch.arange(1.0, 33.0).reshape(4, 8)
        self.layers = torch.nn.Sequential(*map(Layer, gains))

    def forward(self, input_ids):
        """Return (1, 4, 8) values."""
        return self.layers(self.embedding(input_ids)) * 0.5


def converted(gains):
    return converted_network(Network(gains).eval())


def test_the_op_and_the_module_where_float16_ends_are_named():
    model, trial = converted([1.0, 100.0, 1e-6])
    site = first_site(trial, model, "fp16")
    assert site is not None
    assert (site.op_type, site.fault) == ("mul", "infinite")
    assert "layers.1" in site.module
    assert site.largest == pytest.approx(100.0 * 32.0**2, rel=1e-2)
    sentence = site.sentence("fp16")
    assert "layer 1" in sentence
    assert "--rescale auto" in sentence


def test_nothing_is_named_where_float16_holds_every_value():
    model, trial = converted([0.03, 0.03, 0.03])
    assert first_site(trial, model, "fp16") is None
