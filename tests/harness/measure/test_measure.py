"""Metrics over several runs, and how tokens are fed to each shape."""

from __future__ import annotations

import math

import numpy as np

from harness.measure import metrics
from harness.measure.feed import feed
from harness.plan.shapes import Shape


class Echo:
    """Gives the logits (token, calls so far) for each token, and notes what it is called with."""

    def __init__(self):
        self.calls = []

    def make_state(self):
        """Return what must come back with every call."""
        return "state"

    def predict(self, inputs, state=None):
        """Note the call."""
        self.calls.append({name: value.tolist() for name, value in inputs.items()} | {"state": state})
        ids = inputs["input_ids"]
        return {"out": np.stack([ids, np.full_like(ids, len(self.calls))], axis=-1)}


TOKENS = np.array([[5, 6, 7, 8, 9]], np.int32)


def test_prefill_is_filled_up_and_the_filling_left_out():
    one = Echo()
    positions, logits = feed({"main": one}, Shape("prefill", 8), TOKENS)
    assert one.calls == [{"input_ids": [[5, 6, 7, 8, 9, 0, 0, 0]], "state": None}]
    assert positions.tolist() == [0, 1, 2, 3, 4]
    assert logits[:, 0].tolist() == [5, 6, 7, 8, 9]


def test_flexible_runs_at_three_lengths():
    one = Echo()
    positions, logits = feed({"main": one}, Shape("flexible", 8), TOKENS)
    assert [len(call["input_ids"][0]) for call in one.calls] == [5, 2, 1]
    assert positions.tolist() == [0, 1, 2, 3, 4, 0, 1, 0]
    assert logits[:, 0].tolist() == [5, 6, 7, 8, 9, 5, 6, 5]


def test_decode_goes_token_by_token_on_one_state():
    one = Echo()
    positions, logits = feed({"main": one}, Shape("decode", 8), TOKENS)
    assert [(call["input_ids"], call["position"], call["state"]) for call in one.calls] == [
        ([[token]], [at], "state") for at, token in enumerate([5, 6, 7, 8, 9])
    ]
    assert positions.tolist() == [0, 1, 2, 3, 4]
    assert logits[:, 0].tolist() == [5, 6, 7, 8, 9]


def test_both_decodes_from_where_the_prefill_ends():
    for length, prefilled in ((4, 2), (8, 4), (16, 5)):
        head, tail = Echo(), Echo()
        tokens = TOKENS[:, :4] if length == 4 else TOKENS
        positions, logits = feed({"prefill": head, "decode": tail}, Shape("both", length), tokens)
        assert len(head.calls) == 1
        assert len(head.calls[0]["input_ids"][0]) == length // 2
        assert [call["position"] for call in tail.calls] == [[at] for at in range(prefilled, tokens.shape[1])]
        assert logits[:, 0].tolist() == tokens[0].tolist()
        assert positions.tolist() == list(range(tokens.shape[1]))


def test_one_run_is_itself():
    assert metrics.over([{"rel_l2": 0.5, "cosine": 0.9}]) == {"rel_l2": 0.5, "cosine": 0.9}


def test_several_runs_are_their_worst_and_their_mean():
    found = metrics.over([{"rel_l2": 0.25, "cosine": 0.9}, {"rel_l2": 0.75, "cosine": 0.8}])
    assert found == {"rel_l2": 0.75, "rel_l2_mean": 0.5, "cosine": 0.8, "cosine_mean": (0.9 + 0.8) / 2, "runs": 2.0}


def test_a_run_that_gives_nan_is_the_worst():
    found = metrics.over([{"rel_l2": math.nan, "top1": 1.0}, {"rel_l2": 0.75, "top1": math.nan}])
    assert math.isnan(found["rel_l2"])
    assert math.isnan(found["top1"])
