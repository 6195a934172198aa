"""Reading a text: perplexity, agreement and greedy continuation against a model whose figures are known."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from harness.measure import text_reading as reading
from harness.measure.model_precision import Trial
from harness.plan.shapes import Shape

WORDS, LENGTH = 16, 12
TOKENS = np.arange(30, dtype=np.int32)[None] % WORDS


class Successor(torch.nn.Module):
    """A model that gives the successor of each token a logit of its own, and all others 0."""

    def __init__(self, certainty):
        super().__init__()
        self.certainty = certainty

    def forward(self, ids):
        """Return logits (1, n, words)."""
        return self.certainty * torch.nn.functional.one_hot((ids.long() + 1) % WORDS, WORDS).float()


class Program:
    """A program whose logits are a function of its tokens."""

    def __init__(self, function):
        self.function = function

    def predict(self, inputs):
        """Return the logits by name."""
        return {"logits": self.function(inputs["input_ids"])}


def expected(certainty=3.0):
    exported = SimpleNamespace(module=Successor(certainty), shape=Shape("prefill", LENGTH))
    return reading.of_module(exported, TOKENS)


def test_the_perplexity_is_that_of_the_formula():
    likelihood = math.exp(3.0) / (math.exp(3.0) + WORDS - 1)
    assert expected().perplexity == pytest.approx(1 / likelihood, rel=1e-6)


def test_the_continuation_takes_the_most_likely_token_as_far_as_the_program_reaches():
    begin = reading.Reading.prompt_length(LENGTH)
    assert expected().continuation.tolist() == [(begin + i) % WORDS for i in range(LENGTH - begin)]


def test_a_program_that_computes_the_same_agrees():
    model = Successor(3.0)
    program = Program(lambda ids: model(torch.from_numpy(ids)).numpy())
    found = reading.of_program({"main": program}, Shape("prefill", LENGTH), expected())
    assert found.perplexity == pytest.approx(expected().perplexity)
    assert found.agreement == 1
    assert found.continuation.tolist() == expected().continuation.tolist()


def test_logits_that_are_not_finite_give_infinite_perplexity_and_no_continuation():
    program = Program(lambda ids: np.full((1, ids.shape[1], WORDS), np.nan, np.float32))
    found = reading.of_program({"main": program}, Shape("prefill", LENGTH), expected())
    assert found.perplexity == math.inf
    assert found.agreement == 0
    assert found.continuation.tolist() == []


def test_a_trial_keeps_its_text_as_arrays():
    trial = Trial(Shape("prefill", LENGTH), ("main",), (TOKENS[:, :4],), (np.zeros((4, WORDS)),), expected())
    again = Trial.from_arrays(trial.arrays())
    assert again.reading is not None
    assert again.reading.perplexity == trial.reading.perplexity
    assert again.reading.continuation.tolist() == trial.reading.continuation.tolist()
    assert Trial.from_arrays({k: v for k, v in trial.arrays().items() if not k.startswith("text_")}).reading is None
