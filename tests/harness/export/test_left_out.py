"""A trace without its large products is the same program."""

from __future__ import annotations

import re

import pytest
import torch

from harness.export import export, left_out
from harness.export.left_out import large_products
from harness.zoo.catalog import load_zoo

ZOO = load_zoo()
CONVOLVING = ["mamba", "lfm2", "qwen3_next"]
KEYS = ["llama", "qwen2", "olmoe", "gemma3_text", "t5_encoder", "glm4", *CONVOLVING]


def graph(key):
    program = export(ZOO[key]).program
    return re.sub(r"(___torch_mangle_\d+\.)|(/.+?:\d+:\d+)", "", str(program.inlined_graph)), program


@pytest.mark.parametrize("key", KEYS)
def test_its_ops_are_those_of_a_whole_run(key, monkeypatch):
    whole, _ = graph(key)
    monkeypatch.setattr(left_out, "LARGE_ELEMENTS", 1)
    without, program = graph(key)
    assert without == whole
    exported = export(ZOO[key])
    with torch.inference_mode():
        tokens = torch.from_numpy(exported.tokens)
        torch.testing.assert_close(program(tokens), exported.module(tokens))


def test_products_with_large_weights_give_zeros_and_others_are_computed(monkeypatch):
    monkeypatch.setattr(left_out, "LARGE_ELEMENTS", 12)
    large, small = torch.nn.Linear(3, 4), torch.nn.Linear(3, 3)
    x = torch.ones(2, 3)
    with torch.no_grad(), large_products(torch.nn.Sequential(large, small)):
        assert not large(x).any()
        assert small(x).any()


def test_a_module_without_large_weights_or_with_convolutions_runs_as_it_is(monkeypatch):
    linear = torch.nn.Linear(3, 4)
    with torch.no_grad(), large_products(linear):
        assert linear(torch.ones(2, 3)).any()
    monkeypatch.setattr(left_out, "LARGE_ELEMENTS", 12)
    with torch.no_grad(), large_products(torch.nn.Sequential(linear, torch.nn.Conv1d(1, 1, 1))):
        assert linear(torch.ones(2, 3)).any()
