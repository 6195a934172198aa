"""Outcomes: how good an output is, and which outcomes make a row wrong."""

from __future__ import annotations

import numpy as np
import pytest

from harness.measure import metrics
from harness.measure.model_precision import Trial, logits_problem
from harness.measure.text_reading import Reading
from harness.plan.run_plan import Case
from harness.plan.shapes import Shape
from harness.records.outcomes import (
    COLLAPSED,
    DEGRADED,
    FINE,
    NOT_FINITE,
    is_fault,
    outcome_of,
    outcome_of_text,
    worst,
)
from harness.records.schema import TextRecord

LOGITS = np.random.default_rng(0).standard_normal((8, 32))
NOISE = np.random.default_rng(1).standard_normal((8, 32))


def with_one(value):
    spoilt = LOGITS.copy()
    spoilt[3, 5] = value
    return spoilt


def with_zero_row():
    spoilt = LOGITS.copy()
    spoilt[7] = 0
    return spoilt


@pytest.mark.parametrize(
    ("actual", "outcome"),
    [
        (LOGITS, FINE),
        (LOGITS + 1e-3 * NOISE, FINE),
        (LOGITS + 0.3 * NOISE, DEGRADED),
        (np.zeros_like(LOGITS), COLLAPSED),
        (with_zero_row(), COLLAPSED),
        (-LOGITS, COLLAPSED),
        (NOISE * 3, COLLAPSED),
        (with_one(np.nan), NOT_FINITE),
        (with_one(np.inf), NOT_FINITE),
        (with_one(-np.inf), NOT_FINITE),
    ],
)
def test_an_output_has_the_outcome_of_its_worst_sign(actual, outcome):
    assert outcome_of(metrics.measure(LOGITS, actual)) == outcome


TOKENS = np.arange(8, dtype=np.int32)[None]


@pytest.mark.parametrize(
    ("logits", "said"),
    [
        (LOGITS, ""),
        (LOGITS * 1e-6, ""),
        (with_one(-np.inf), "1 of 256 logits of the float32 PyTorch model are NaN or infinite"),
        (LOGITS * 0, "every logit of the float32 PyTorch model is zero"),
        (with_zero_row(), "all logits of the float32 PyTorch model are zero at 1 of 8 tokens"),
        (np.repeat(LOGITS[:, :1], 32, 1), "equal over the whole vocabulary"),
        (np.repeat(LOGITS[:, :1], 32, 1) * (1 + 1e-7 * NOISE), "equal over the whole vocabulary"),
        (np.repeat(LOGITS[:1], 8, 0), "the same at every token"),
        (LOGITS[:, :1], ""),  # a vocabulary of one
    ],
)
def test_logits_of_pytorch_that_say_nothing_are_a_problem(logits, said):
    found = logits_problem(TOKENS, logits)
    assert said in found
    assert bool(found) == bool(said)


def test_one_token_repeated_may_have_one_row_of_logits():
    assert logits_problem(TOKENS * 0, np.repeat(LOGITS[:1], 8, 0)) == ""


def test_a_text_that_pytorch_cannot_read_is_a_problem():
    reading = Reading(TOKENS, np.inf, np.array([3, -1, 5], np.int32), TOKENS[0, :2])
    trial = Trial(Shape(length=8), ("main",), (TOKENS,), (LOGITS,), reading)
    assert trial.problem == "the float32 PyTorch model's logits of 1 token of the text are NaN or infinite"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_logits_that_are_not_finite_in_pytorch_are_not_finite_either(value):
    assert outcome_of(metrics.measure(with_one(value), with_one(value))) == NOT_FINITE


def test_the_worst_of_several_runs_decides():
    runs = [metrics.measure(LOGITS, LOGITS), metrics.measure(LOGITS, with_one(np.nan))]
    assert outcome_of(metrics.over(runs)) == NOT_FINITE
    assert outcome_of(metrics.over(runs[:1])) == FINE


def test_a_tie_of_two_logits_degrades_nothing():
    assert outcome_of({"rel_l2": 1e-3, "kl": 1e-7, "top1": 0.5}) == FINE
    assert outcome_of({"rel_l2": 5e-2, "kl": 1e-7, "top1": 0.5}) == DEGRADED


def test_nothing_executed_has_no_outcome():
    assert outcome_of({}) == ""
    assert not is_fault("", plain=False, compressed=False)


@pytest.mark.parametrize(
    ("outcome", "case", "fault"),
    [
        (FINE, Case("on"), False),
        (DEGRADED, Case("on"), True),
        (COLLAPSED, Case("on"), True),
        (DEGRADED, Case("on", compression="int4"), False),
        (COLLAPSED, Case("on", compression="int4"), True),
        (COLLAPSED, Case("off"), False),
        (COLLAPSED, Case("cpu"), False),
        (COLLAPSED, Case("on", "none"), False),
        *[(NOT_FINITE, Case(variant), True) for variant in ("off", "on", "cpu")],
    ],
)
def test_what_a_user_would_ship_must_be_fine(outcome, case, fault):
    assert is_fault(outcome, plain=case.is_plain, compressed=bool(case.compression)) is fault


def text(perplexity, float32=20.0, agreement=1.0):
    return TextRecord(
        tokens=600,
        perplexity=perplexity,
        perplexity_float32=float32,
        agreement=agreement,
        prompt="",
        continuation="",
        float32="",
    )


@pytest.mark.parametrize(
    ("reading", "outcome"),
    [
        (text(20.1, agreement=0.99), FINE),
        (text(24.0, agreement=0.95), DEGRADED),
        (text(20.1, agreement=0.8), DEGRADED),
        (text(2e5, agreement=0.01), COLLAPSED),
        (text(None, agreement=0.9), COLLAPSED),
        (text(20.0, float32=None), COLLAPSED),
    ],
)
def test_a_text_has_an_outcome_of_its_own(reading, outcome):
    assert outcome_of_text(reading) == outcome


def test_a_text_that_breaks_spoils_an_output_that_is_fine_on_the_prompts():
    assert worst(FINE, COLLAPSED) == COLLAPSED
    assert worst(NOT_FINITE, FINE) == NOT_FINITE
    assert worst(FINE, "") == FINE
    assert worst("", "") == ""
