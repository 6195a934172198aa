"""What is missing is a change: figures that are not finite any more, rows that fail, rows that no run has any more."""

from __future__ import annotations

import msgspec
import pytest

from harness.judge.nightly_series import history
from harness.report import history_table
from tests.harness.example_records import METRICS, record, write_run

NIGHTS = 12


def night(results, day, *records):
    time = f"2026-01-{day:02}T00:00:00+00:00"
    records = [msgspec.structs.replace(one, time=time) for one in records]
    return write_run(results, f"202601{day:02}T000000.000000Z", records)


def failed(**fields):
    return record(status="failed", reason="no", fused=None, missed=None, ops_after=None, metrics={}, sites=(), **fields)


def changes(results, *measures):
    return {one.measure: one.changes for one in history(results, measures=measures)}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None])
def test_a_metric_that_is_not_finite_any_more(tmp_path, value):
    for day in range(1, 2 * NIGHTS + 1):
        night(tmp_path, day, record(metrics={**METRICS, "rel_l2": 1.5e-3 if day <= NIGHTS else value}))
    (change,) = changes(tmp_path, "rel_l2")["rel_l2"]
    assert (change.kind, change.night.run_id) == ("regression", "20260113T000000.000000Z")
    assert (change.before, change.after) == (1.5e-3, None)
    assert change.sentence.startswith(
        "llama on layer_norm: rel_l2 missing since 2026-01-13 (no finite value), 1.50e-03 before"
    )


def test_a_row_that_fails_says_why(tmp_path):
    for day in range(1, 2 * NIGHTS + 1):
        night(tmp_path, day, record() if day <= NIGHTS else failed())
    found = changes(tmp_path, "rel_l2", "fused", "ops_after")
    assert list(found) == ["rel_l2", "fused", "ops_after"]
    assert all([change.night.run_id for change in of] == ["20260113T000000.000000Z"] for of in found.values())
    assert "(failed: no)" in found["fused"][0].sentence
    assert history_table.ended(history(tmp_path)) == [
        "llama on layer_norm: rel_l2, fused, ops_after missing since 2026-01-13 (failed: no)."
    ]


def test_a_figure_that_comes_back_is_a_change_too(tmp_path):
    for day, value in enumerate([1, None, None, 1], 1):
        night(tmp_path, day, record(fused=value))
    (series,) = history(tmp_path, measures=["fused"])
    assert [(change.kind, change.before, change.after) for change in series.changes] == [
        ("regression", 1, None),
        ("improvement", None, 1),
    ]
    assert history_table.ended([series]) == []


def test_one_that_comes_back_at_another_level_is_told_once(tmp_path):
    for day, value in enumerate([1, None, 2], 1):
        night(tmp_path, day, record(fused=value))
    assert [(change.before, change.after) for change in changes(tmp_path, "fused")["fused"]] == [(1, None), (1, 2)]


def test_a_figure_that_never_was_is_not_missing(tmp_path):
    for day in range(1, 4):
        night(tmp_path, day, record(norm_ops=None), record(model="qwen3"))
    assert changes(tmp_path, "norm_ops") == {"norm_ops": ()}


def test_a_row_that_stops_appearing(tmp_path):
    for day in range(1, 2 * NIGHTS + 1):
        night(tmp_path, day, record(), *([record(model="qwen3")] if day <= NIGHTS else ()))
    by_model = {one.model: one for one in history(tmp_path, measures=["fused"])}
    (change,) = by_model["qwen3"].changes
    assert (change.kind, change.night.run_id, change.after) == ("regression", "20260113T000000.000000Z", None)
    assert "the run has no such row" in change.sentence
    assert by_model["llama"].changes == ()


def without(results, day, others, **fields):
    path = night(results, day, record(**fields))
    path.with_suffix(".json").write_bytes(msgspec.json.encode({"others": others}))


@pytest.mark.parametrize(
    "fields", [{"shape": "decode"}, {"policy": "fp32"}, {"size": "full"}, {"executor": "coreml"}], ids=str
)
def test_runs_of_another_kind_do_not_miss_it(tmp_path, fields):
    night(tmp_path, 1, record(model="qwen3"))
    for day in range(2, 6):
        night(tmp_path, day, record(**fields))
    assert not any(one.changes for one in history(tmp_path, measures=["fused"]))


def test_runs_that_were_not_asked_for_it_do_not_miss_it(tmp_path):
    night(tmp_path, 1, record(), record(model="qwen3"), record(variant="off"))
    for day in range(2, 6):
        without(tmp_path, day, ["qwen3"])
    assert not any(one.changes for one in history(tmp_path, measures=["fused"]))
    for day in range(6, 9):
        without(tmp_path, day, [])
    gone = [one.title for one in history(tmp_path, measures=["fused"]) if one.changes]
    assert gone == ["qwen3 on layer_norm"]


def test_one_interrupted_run_does_not_end_a_row(tmp_path):
    night(tmp_path, 1, record(), record(model="qwen3"))
    night(tmp_path, 2, record())
    assert not any(one.changes for one in history(tmp_path, measures=["fused"]))


def test_a_new_definition_is_no_end(tmp_path):
    for day in range(1, 6):
        night(tmp_path, day, record(definition="a" if day < 3 else "b"))
    assert not any(one.changes for one in history(tmp_path, measures=["fused"]))


def test_a_checkpoint_is_known_by_its_content(tmp_path):
    paths = ["w/llama", "./w/llama", "/srv/w/llama", "/moved/llama"]
    for day, path in enumerate(paths, 1):
        night(tmp_path, day, record(checkpoint=path, definition="a"))
    (series,) = history(tmp_path, measures=["fused"])
    assert len(series.points) == len(paths)
    assert series.row == record(checkpoint="elsewhere", definition="a").row
    night(tmp_path, 5, record(checkpoint=paths[0], definition="b"))
    assert sorted(len(one.points) for one in history(tmp_path, measures=["fused"])) == [1, len(paths)]


@pytest.mark.parametrize("outcome", ["degraded", "collapsed", "not finite"])
def test_a_worse_outcome_is_a_regression_on_its_first_night(tmp_path, outcome):
    for day, found in enumerate(["fine", "fine", outcome], 1):
        night(tmp_path, day, record(outcome=found))
    (change,) = changes(tmp_path)["outcome"]
    assert change.kind == "regression"
    assert change.sentence.startswith(f"llama on layer_norm: outcome {outcome} since 2026-01-03, fine before")


def test_an_outcome_that_is_better_is_an_improvement(tmp_path):
    for day, found in enumerate(["collapsed", "fine"], 1):
        night(tmp_path, day, record(outcome=found))
    (change,) = changes(tmp_path, "outcome")["outcome"]
    assert (change.kind, change.before, change.after) == ("improvement", 2, 0)
