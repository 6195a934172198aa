"""Checkpoints that no row may call ok: weights and logits that are not finite, or all zeros."""

from __future__ import annotations

import math

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from harness.measure.metrics import METRICS
from harness.plan.run_plan import Options
from harness.run.cases import run_model
from harness.zoo.catalog import load_zoo
from harness.zoo.checkpoint import inspect_checkpoint, spec_of
from tests.harness.cli.test_verdicts import harness
from tests.harness.example_records import write_run
from tests.harness.zoo.checkpoints import change

ZOO = load_zoo()
UP, GAMMA, HEAD = "model.layers.0.mlp.up_proj.weight", "model.norm.weight", "lm_head.weight"
EMBEDDING, BIAS = "model.embed_tokens.weight", "model.layers.1.self_attn.q_proj.bias"


@pytest.fixture
def folder(tmp_path):
    """Return a checkpoint of two layers, with biases and a head of its own."""
    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=96,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        attention_bias=True,
        max_position_embeddings=64,
    )
    LlamaForCausalLM(config).eval().save_pretrained(tmp_path / "small")
    return tmp_path / "small"


def rows(folder, variants=("on",), **more):
    checkpoint = inspect_checkpoint(str(folder))
    options = Options(variants, size="full", checkpoint=checkpoint, sequence_length=8, **more)
    return list(run_model(spec_of(checkpoint, ZOO), options, lambda _: None))


def spoil(folder, name, place, value):
    change(folder, lambda found: found[name].__setitem__(place, value))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", [EMBEDDING, UP, GAMMA, BIAS, HEAD])
def test_a_weight_that_is_not_finite_fails_every_row(folder, name, value):
    spoil(folder, name, -1, value)  # the embedding's last row is one that no token reaches
    for row in rows(folder, ("off", "on")):
        assert (row.status, row.outcome, row.marks) == ("failed", "not finite", ("weights that are not finite",))
        assert f"weights that are NaN or infinite: {name} (" in row.reason
        assert row.metrics == dict.fromkeys(METRICS)


def test_a_weight_beyond_float16_is_wrong_unless_it_is_rescaled(folder):
    spoil(folder, UP, (0, 0), 1e5)
    (kept,) = rows(folder, rescale="off")
    assert (kept.status, kept.outcome, kept.metrics["rel_l2"]) == (
        "wrong",
        "not finite",
        pytest.approx(math.nan, nan_ok=True),
    )
    assert "--rescale auto keeps the values below it" in kept.reason
    assert any(f"65,504: {UP} (up to 1e+05)" in mark for mark in kept.marks)
    (scaled,) = rows(folder)
    assert (scaled.status, scaled.outcome) == ("ok", "fine")


def test_logits_that_are_all_zero_are_wrong_in_every_variant(folder):
    spoil(folder, HEAD, slice(None), 0.0)
    for row in rows(folder, ("off", "on", "cpu")):
        assert (row.status, row.outcome) == ("wrong", "collapsed")
        assert row.reason == "every logit of the float32 PyTorch model is zero"


def test_no_broken_row_is_taken_as_an_expectation(folder, tmp_path):
    spoil(folder, UP, (0, 0), math.inf)
    write_run(tmp_path, "20260101", rows(folder))
    code, out, _ = harness("expect", "--update", "--results", tmp_path)
    assert (code, "its output is not finite" in out) == (0, True)
    assert not (tmp_path / "baselines").exists() or not list((tmp_path / "baselines").iterdir())
