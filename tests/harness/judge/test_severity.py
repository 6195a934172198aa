"""Verdicts stand in one order, and are counted in one way."""

from __future__ import annotations

from harness.judge.severity import headline, in_order, tally
from harness.records.verdicts import Verdict
from tests.harness.example_records import record


def verdict(measure, base=None, candidate=None, kind="regression", title="a on"):
    return Verdict(kind, "a", title, measure, f"{title}: {measure}", ("a", title), base, candidate)


def test_the_worst_sort_stands_first_and_the_larger_change_before_the_smaller():
    expected = [
        verdict("row"),
        verdict("status", "ok", "wrong"),
        verdict("fused", 3, 2),
        verdict("rel_l2", 1e-3, None),
        verdict("rel_l2", 1e-3, 4e-3),
        verdict("rel_l2", 1e-3, 2e-3),
        verdict("predict", 1e-3, 2e-3),
        verdict("ops_after", 100, 110),
        verdict("predict", 1e-3, 9e-4, "improvement"),
        verdict("gates", kind="unchanged"),
    ]
    assert in_order(reversed(expected)) == expected


def test_rows_are_counted_once_and_figures_each():
    found = [verdict("fused", 3, 2), verdict("ops_after", 1, 2), verdict("fused", 3, 2, title="b on")]
    assert tally(found, "regression") == (2, 3)
    assert headline([record()], found) == "2 rows got worse in 3 figures"


def test_a_run_without_rows_and_one_without_a_base_say_so():
    assert headline([], None) == "No rows: this run recorded nothing"
    assert headline([record()], None) == "Not compared; 1 row ok"
    assert headline([record(status="failed")], []) == "Not judged: no row compares; 1 row of 1 is not ok"
