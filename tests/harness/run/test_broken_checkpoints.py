"""Checkpoints that no row of a run may call ok: weights and logits that are not finite, or that say nothing."""

from __future__ import annotations

import math

import pytest

from harness.measure.metrics import METRICS
from harness.run.cases import run_model
from tests.harness.broken_checkpoints import (
    BIAS,
    BROKEN_IN_FLOAT16,
    BROKEN_IN_FLOAT32,
    EMBEDDING,
    GAMMA,
    HEAD,
    NOT_FINITE_WEIGHTS,
    UP,
    first_quick,
    plan,
    save,
    spoil,
)
from tests.harness.cli.test_verdicts import harness
from tests.harness.example_records import write_run
from tests.harness.zoo.checkpoints import change


def rows(folder, variants=("on",), **more):
    return list(run_model(*plan(folder, variants, **more), lambda _: None))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", [EMBEDDING, UP, GAMMA, BIAS, HEAD])
def test_a_weight_that_is_not_finite_fails_every_row(tmp_path, name, value):
    spoil(save(tmp_path), name, -1, value)  # the embedding's last row is one that no token reaches
    for row in rows(tmp_path, ("off", "on")):
        assert (row.status, row.outcome, row.marks) == ("failed", "not finite", ("weights that are not finite",))
        assert f"weights that are NaN or infinite: {name} (" in row.reason
        assert row.metrics == dict.fromkeys(METRICS)


@pytest.mark.parametrize("damage", first_quick(NOT_FINITE_WEIGHTS, 5))
def test_weights_that_are_not_finite_are_found_wherever_they_are(tmp_path, damage):
    damage(tmp_path)
    for row in rows(tmp_path, ("off", "on", "cpu")):
        assert (row.status, row.outcome) == ("failed", "not finite")


@pytest.mark.parametrize(("damage", "reason"), first_quick(BROKEN_IN_FLOAT32.items(), 2))
def test_logits_that_float32_breaks_are_wrong_in_every_variant(tmp_path, damage, reason):
    damage(tmp_path)
    for row in rows(tmp_path, ("off", "on", "cpu")):
        assert (row.status, reason in row.reason) == ("wrong", True), row.reason


@pytest.mark.parametrize(("damage", "outcome"), first_quick(BROKEN_IN_FLOAT16.items(), 1))
def test_logits_that_float16_breaks_are_wrong(tmp_path, damage, outcome):
    damage(tmp_path)
    (row,) = rows(tmp_path)
    assert (row.status, row.outcome) == ("wrong", outcome)
    assert "float16 ends at 65,504, and --rescale auto does not change it: " in row.reason
    assert row.reason.endswith(" is an output, which keeps its size"), row.reason


def test_a_weight_beyond_float16_is_wrong_unless_it_is_rescaled(tmp_path):
    spoil(save(tmp_path), UP, (0, 0), 1e5)
    (kept,) = rows(tmp_path, rescale="off")
    assert (kept.status, kept.outcome, kept.metrics["rel_l2"]) == (
        "wrong",
        "not finite",
        pytest.approx(math.nan, nan_ok=True),
    )
    assert "--rescale auto keeps the values below it" in kept.reason
    assert any(f"65,504: {UP} (up to 1e+05)" in mark for mark in kept.marks)
    (scaled,) = rows(tmp_path)
    assert (scaled.status, scaled.outcome) == ("ok", "fine")


@pytest.mark.slow
def test_weights_that_float16_makes_zero_are_marked_and_the_row_is_wrong(tmp_path):
    change(save(tmp_path), lambda found: found[HEAD].mul_(1e-8))
    (row,) = rows(tmp_path)
    assert (row.status, row.outcome) == ("wrong", "collapsed")
    assert any(mark.startswith(f"weights that are all zero in float16: {HEAD} (up to ") for mark in row.marks)


def test_no_broken_row_is_taken_as_an_expectation_or_passes_a_comparison(tmp_path):
    sound, broken, results = tmp_path / "sound", tmp_path / "broken", tmp_path / "results"
    spoil(save(broken), UP, (0, 0), math.inf)
    write_run(results, "20260101T000000.000000Z", rows(save(sound)))
    write_run(results, "20260102T000000.000000Z", rows(broken))
    code, out, _ = harness("expect", "--update", "--results", results)
    assert (code, "its output is not finite" in out) == (0, True)
    assert not (results / "baselines").exists() or not list((results / "baselines").iterdir())
    code, out, _ = harness("compare", "latest~1", "latest", "--results", results)
    assert (code, "weights that are NaN or infinite" in out) == (1, True)
    code, out, _ = harness("history", "--metric", "outcome", "--all", "--results", results)
    assert (code, "not finite" in out) == (0, True), out
    code, out, err = harness("nightly", "--results", results)
    assert (code, "Not compared; 1 row of 1 is not ok" in out + err) == (1, True), out + err
