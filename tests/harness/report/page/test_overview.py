"""The run at a glance: what each variant came to."""

from __future__ import annotations

from harness.report.page.overview import MOST_LINES, overview
from tests.harness.report import records


def lines(*rows):
    return {line.title: line for line in overview(rows).lines}


def test_a_variant_sums_up_norms_outcomes_precision_and_statuses():
    fine = {"outcome": "fine", "metrics": {"rel_l2": 1e-3}}
    found = lines(
        records.record("a", **fine),
        records.record("b", outcome="fine", metrics={"rel_l2": 3e-3}),
        records.record("c", outcome="collapsed", metrics={"rel_l2": 2.0}, status="wrong", fused=4),
        records.record("a", "off", outcome="collapsed", metrics={"rel_l2": 1.0}),
    )
    on = found["on layer_norm"]
    assert (on.rows, on.norms, on.outcomes, on.statuses) == ("3 rows", "14/15", "2 fine, 1 collapsed", "1 wrong, 2 ok")
    assert (on.precision, on.worst, on.worst_model, on.tone) == ("3.00e-03", "2.00e+00", "c", "worse")
    assert (found["off"].precision, found["off"].worst, found["off"].tone) == ("1.00e+00", "", "")


def test_what_is_not_finite_or_was_not_measured_says_so():
    found = lines(records.record(metrics={"rel_l2": None}), records.record("b", "off", metrics={}))
    assert found["on layer_norm"].precision == "not finite"
    assert found["off"].precision == "-"


def test_many_variants_are_counted():
    found = overview([records.record("a", f"v{n}") for n in range(MOST_LINES + 3)])
    assert (len(found.lines), found.left) == (MOST_LINES, 3)
