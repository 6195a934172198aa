"""The benchmarks' shares: kept as a run's records, and judged by the history as any other figure."""

from __future__ import annotations

import pytest

from harness.judge import figures
from harness.judge.nightly_series import history
from tests.bench.speed import Speed

NIGHTS, WORSE_SINCE = 24, 16


def write(results, **shares):
    speed = Speed()
    speed.note("lean_wide", **shares)
    speed.write(results)


def test_a_level_of_shares_that_gets_worse_is_a_regression_without_a_unit(tmp_path):
    for number in range(NIGHTS):
        level = (0.15 if number >= WORSE_SINCE else 0.12) * (1 + 0.002 * (number % 3))
        write(tmp_path, time=[level, level], growth=[0.06])
    time, growth = history(tmp_path, measures=["share_time", "share_growth"])
    assert (time.title, time.unit, len(time.points)) == ("lean_wide", "", NIGHTS)
    (change,) = time.changes
    assert change.kind == "regression"
    assert change.night.run_id == time.points[WORSE_SINCE].run_id
    assert change.after == pytest.approx(0.15, rel=0.01)
    assert "share_time 0.15 since" in change.sentence
    assert growth.changes == ()


def test_a_session_without_shares_leaves_no_run(tmp_path):
    Speed().write(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_share_is_shown_without_a_unit():
    assert (figures.text("share_peak", 0.4512), figures.unit("share_peak")) == ("0.451", "")
    assert figures.higher_is_better("share_peak") is False
