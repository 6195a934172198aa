"""History: series grouped by row, changes found and explained, files read as they are."""

from __future__ import annotations

import subprocess
from pathlib import Path

import msgspec
import numpy as np
import pytest

from harness.errors import RecordError, UnknownNameError
from harness.judge.change_points import change_points
from harness.judge.nightly_series import history
from tests.harness.example_records import MAC, METRICS, record, write_run

SEED = 20260101
replace = msgspec.structs.replace


def night(results, number, *records):
    run_id = f"2026{1 + number // 28:02}{1 + number % 28:02}T000000.000000Z"
    time = f"2026-{1 + number // 28:02}-{1 + number % 28:02}T00:00:00+00:00"
    return write_run(results, run_id, [replace(one, time=time) for one in records])


def timed(level, rng, **fields):
    return record(
        executor="coreml", samples={"predict": tuple((level * np.exp(rng.normal(0, 0.008, 15))).tolist())}, **fields
    )


@pytest.fixture
def slower(tmp_path):
    """Return a results folder of 40 nights, 6 % slower since the 31st, with a new coremltools that night."""
    rng = np.random.default_rng(SEED)
    for number in range(40):
        new = number >= 30
        environment = replace(MAC, versions={**MAC.versions, "coremltools": "9.1" if new else "9.0"})
        one = timed(2e-3 * (1.06 if new else 1.0), rng, environment=environment)
        night(tmp_path, number, one, timed(3e-3, rng, model="qwen3", environment=environment))
    return tmp_path


def test_the_night_and_what_came_with_it_are_named(slower):
    changed = [one for one in history(slower, measures=["predict"]) if one.changes]
    assert [one.title for one in changed] == ["llama on layer_norm"]
    (change,) = changed[0].changes
    assert change.kind == "regression"
    assert change.night.run_id == "20260203T000000.000000Z"
    assert change.last.run_id == "20260202T000000.000000Z"
    assert change.after / change.before == pytest.approx(1.06, abs=0.005)
    assert change.between == ("coremltools 9.0 to 9.1",)
    assert change.sentence.startswith("llama on layer_norm: predict 2.1")
    assert change.since == "2026-02-03"
    assert "since 2026-02-03, " in change.sentence


def test_points_are_medians_oldest_first(slower):
    (llama,) = history(slower, models=["llama"], measures=["predict"])
    assert len(llama.points) == 40
    assert [point.time for point in llama.points] == sorted(point.time for point in llama.points)
    assert llama.points[0].value == pytest.approx(2e-3, rel=0.01)


def test_the_commits_between_are_listed(tmp_path):
    root = Path(__file__).parents[3]
    words = ["git", "-C", str(root), "log", "--format=%H %h %s", "-3"]
    lines = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
    commits = [line.split(" ", 2) for line in lines]
    for number in range(4):
        environment = replace(MAC, git_commit=commits[2 if number < 2 else 0][0])
        night(tmp_path, number, record(ops_after=111 if number < 2 else 112, environment=environment))
    (series,) = history(tmp_path, measures=["ops_after"])
    (change,) = series.changes
    assert (change.kind, change.before, change.after) == ("regression", 111, 112)
    assert change.commits == tuple(f"{short} {subject}" for _, short, subject in commits[:2])
    assert change.between == (f"commit {commits[2][0][:10]} to {commits[0][0][:10]} (2 commits)",)


def test_counts_change_at_once_and_fewer_fused_is_worse(tmp_path):
    for number, fused in enumerate([3, 3, 2, 3]):
        night(tmp_path, number, record(fused=fused))
    (series,) = history(tmp_path, measures=["fused"])
    assert [(change.kind, change.after) for change in series.changes] == [("regression", 2), ("improvement", 3)]


def test_another_machine_or_definition_is_another_series(tmp_path):
    for number in range(3):
        night(
            tmp_path,
            number,
            record(),
            record(model="qwen3", definition="a" if number < 2 else "b"),
            record(model="gemma2", environment=MAC if number < 2 else replace(MAC, chip="Apple M5")),
        )
    lengths = [(one.model, len(one.points)) for one in history(tmp_path, measures=["fused"])]
    assert sorted(lengths) == [("gemma2", 1), ("gemma2", 2), ("llama", 3), ("qwen3", 1), ("qwen3", 2)]


def test_a_metric_that_is_not_finite_is_a_gap(tmp_path):
    for number in range(3):
        night(tmp_path, number, record(metrics={**METRICS, "rel_l2": float("nan") if number == 1 else 1e-3}))
    (series,) = history(tmp_path, measures=["rel_l2"])
    assert [point.value for point in series.points] == [1e-3, None, 1e-3]


def test_a_half_written_last_line_is_told_and_skipped(tmp_path):
    night(tmp_path, 0, record())
    path = night(tmp_path, 1, record(), record(model="qwen3"))
    path.write_bytes(path.read_bytes()[:-40])
    night(tmp_path, 2, record(), record(model="qwen3"))
    told = []
    lengths = {one.model: len(one.points) for one in history(tmp_path, measures=["fused"], damaged=told.append)}
    assert lengths == {"llama": 3, "qwen3": 1}
    assert told == [f"{path}:2: half-written last line skipped, as a killed run leaves it"]


def test_a_line_within_that_is_no_record_is_one_error(tmp_path):
    path = night(tmp_path, 0, record(), record(model="qwen3"))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b"{garbage\n" + lines[1])
    with pytest.raises(RecordError, match=r"\.jsonl:2: not a record"):
        history(tmp_path)


def test_a_newer_schema_is_refused_with_the_remedy(tmp_path):
    path = night(tmp_path, 0, record())
    path.write_bytes(path.read_bytes().replace(b'"schema_version":3', b'"schema_version":99'))
    with pytest.raises(RecordError, match="newer than this harness's"):
        history(tmp_path)


def test_an_older_schema_is_read(tmp_path):
    path = night(tmp_path, 0, record())
    older = msgspec.json.decode(path.read_bytes())
    for name in ("shape", "compression", "checkpoint", "definition", "samples", "pair"):
        older.pop(name)
    path.write_bytes(msgspec.json.encode({**older, "schema_version": 1}) + b"\n")
    night(tmp_path, 1, record())
    (series,) = history(tmp_path, measures=["fused"])
    assert len(series.points) == 2


def test_nothing_to_read_and_unknown_names_are_errors(tmp_path):
    with pytest.raises(RecordError, match="holds no run"):
        history(tmp_path)
    night(tmp_path, 0, record())
    with pytest.raises(UnknownNameError, match=r"unknown model 'lama'\. Did you mean llama"):
        history(tmp_path, models=["lama"])
    with pytest.raises(RecordError, match="nothing: no record has such a figure; known: norms_expected"):
        history(tmp_path, measures=["nothing"])
    with pytest.raises(RecordError, match="predict: no record has such a figure; times come from `ane-harness bench`"):
        history(tmp_path, measures=["predict"])
    with pytest.raises(RecordError, match="no name of a figure"):
        history(tmp_path, measures=['predict" FROM x; --'])


def test_a_retried_row_counts_once(tmp_path):
    night(tmp_path, 0, record(fused=1), record(fused=3))
    (series,) = history(tmp_path, measures=["fused"])
    assert len(series.points) == 1


def test_a_row_retried_without_the_figure_has_none(tmp_path):
    tried = record(time="2026-01-01T00:00:00+00:00", samples={"predict": (2e-3,)})
    write_run(tmp_path, tried.run_id, [tried, record(time="2026-01-01T00:00:01+00:00", status="failed")])
    assert [one for one in history(tmp_path) if one.measure == "predict"] == []


def levels(*parts, noise=0.003, seed=SEED):
    rng = np.random.default_rng(seed)
    return np.concatenate([np.full(n, level) * np.exp(rng.normal(0, noise, n)) for n, level in parts])


def test_steps_up_and_down_are_found_where_they_are():
    assert change_points(levels((30, 1.0), (20, 1.05), (25, 0.99))) == [30, 50]


def test_a_single_night_far_off_is_no_change():
    series = levels((40, 1.0))
    series[[7, 20, 39]] *= 1.5
    assert change_points(series) == []


def test_a_step_below_the_floor_is_not_told():
    assert change_points(levels((30, 1.0), (30, 1.015))) == []
    assert change_points(levels((30, 1.0), (30, 1.015)), floor=0.01) == [30]


def test_constant_short_and_empty_series_have_no_change():
    assert change_points([1.0] * 60) == change_points([1.0, 2.0]) == change_points([]) == []


def test_a_step_without_noise_is_found():
    assert change_points([1.0] * 12 + [1.1] * 4) == [12]


@pytest.mark.slow
def test_the_critical_values_are_what_shuffled_nights_reach():
    from harness.judge.change_points import BELIEVE, CRITICAL, LOOK, _largest

    rng = np.random.default_rng(SEED)
    for nights in (16, 24, 48, 64, 128, 256):
        shuffled = rng.permuted(np.tile(np.arange(1.0, nights + 1), (20_000, 1)), axis=1)
        largest, _ = _largest(shuffled)
        assert np.mean(largest > CRITICAL[nights][LOOK]) == pytest.approx(0.01, abs=0.004)
        assert np.mean(largest > CRITICAL[nights][BELIEVE]) == pytest.approx(0.002, abs=0.0015)
