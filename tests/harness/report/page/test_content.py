"""What a report says first: the headline, what got worse, and in which order the models stand."""

from __future__ import annotations

import pytest

from harness.judge.regress import compare
from harness.records.lookup import Side
from harness.records.schema import RescaledRecord
from harness.report.page.content import MOST_LISTED, Page
from tests.harness.report import records


def compared(before, now):
    return Page(now, "now", base="before", verdicts=compare(Side("before", before), Side("now", now)))


def test_a_lost_norm_is_the_headline_and_the_first_thing_listed():
    before = [records.record(), records.record("qwen3")]
    now = [records.record(), records.record("qwen3", fused=4, missed=1, sites=records.sites(4))]
    page = compared(before, now)
    assert page.headline == "1 row got worse in 1 figure"
    assert page.tone == "worse"
    (group,) = [group for group in page.groups if group.title == "What got worse"]
    assert page.groups[0] is not None
    assert page.groups[0].title == group.title
    assert {finding.model for finding in group.findings} == {"qwen3"}
    assert any("5" in finding.sentence and "4" in finding.sentence for finding in group.findings)
    assert page.kinds == ["unchanged", "regression"]


def test_a_row_with_several_regressions_counts_once():
    now = [records.record(fused=4, missed=1, sites=records.sites(4), ops_after=130)]
    page = compared([records.record()], now)
    assert page.headline == "1 row got worse in 2 figures"
    assert len(page.groups[0].findings) >= 2


def test_a_model_that_vanished_is_counted_and_named():
    page = compared([records.record(), records.record("qwen3")], [records.record()])
    assert page.headline == "1 row got worse in 1 figure"
    assert page.groups[0].findings[0].title == "qwen3"
    assert "vanished" in page.groups[0].findings[0].sentence


def test_what_is_as_before_is_said_to_be():
    page = compared([records.record()], [records.record()])
    assert (page.headline, page.tone, page.groups) == ("Nothing got worse in 1 row", "fine", [])


def test_nothing_got_worse_is_not_said_of_rows_that_were_not_judged():
    page = compared([records.record(definition="a")], [records.record(definition="b")])
    assert page.headline == "Not judged: no row compares"
    assert page.tone == ""


def test_a_row_whose_gates_hold_is_judged_though_its_times_stay_open_and_that_is_said():
    few = {"samples": {"predict": (0.004, 0.005)}}
    page = compared([records.timed(**few)], [records.timed(**few)])
    assert page.headline == "Nothing got worse in 1 row"
    assert "1 row with times that too few or too noisy samples leave open." in page.lead
    assert [(count.name, count.number) for count in page.counts] == [("insufficient data", 1), ("ok", 1)]


def test_without_a_base_the_headline_says_so_and_counts_what_is_not_ok():
    page = Page(records.zoo(), "now")
    assert page.headline == "Not compared; 2 rows of 7 are not ok"
    assert page.groups[0].title == "What is not ok"
    assert [finding.model for finding in page.groups[0].findings] == ["qwen3", "gemma"]


def test_a_failure_that_was_there_before_is_no_regression_and_still_shown():
    failed = records.record(status="failed", reason="no such op")
    page = compared([failed, records.record("qwen3")], [failed, records.record("qwen3")])
    assert page.headline == "Nothing got worse in 2 rows; 1 row of 2 is not ok"
    assert page.tone == "worse"


def test_a_row_that_got_worse_is_not_listed_again_as_not_ok():
    failed = {"status": "failed", "reason": "x", "fused": None}
    before = [records.record("a"), records.record("b", **failed)]
    page = compared(before, [records.record("a", **failed), records.record("b", **failed)])
    assert [group.title for group in page.groups] == ["What got worse", "What else is not ok"]
    assert [finding.model for finding in page.groups[1].findings] == ["b"]


def test_models_stand_worst_first():
    before = [records.record("a"), records.record("b"), records.record("c", ops_after=130)]
    now = [records.record("a"), records.record("b", status="failed", reason="x", fused=None), records.record("c")]
    models = compared(before, now).models
    assert [line["model"] for line in models] == ["b", "c", "a"]
    assert models[0]["tone"] == "worse"


def test_a_long_list_is_cut_and_says_how_much_is_left():
    before = [records.record(f"m{n}") for n in range(60)]
    now = [records.record(f"m{n}", ops_after=130) for n in range(60)]
    group = compared(before, now).groups[0]
    assert (len(group.findings), group.left) == (MOST_LISTED, 60 - MOST_LISTED)


@pytest.mark.parametrize(
    ("first", "last", "words"),
    [
        ("2026-01-31T23:58:00+00:00", "2026-01-31T23:59:59+00:00", "2026-01-31 23:58 to 23:59 UTC"),
        ("2026-01-31T23:58:00+00:00", "2026-02-01T00:20:00+00:00", "2026-01-31 23:58 to 2026-02-01 00:20 UTC"),
        ("2026-01-31T23:58:00+00:00", "2026-01-31T23:58:30+00:00", "2026-01-31 23:58 UTC"),
    ],
)
def test_when_and_where_a_run_was_made(first, last, words):
    page = Page([records.record(time=first), records.record("b", time=last)], "now")
    assert page.origin[0] == f"Recorded {words} on Some CPU, Linux 6.1; run by reference."


def test_commit_and_versions_are_at_the_head():
    page = Page([records.record(), records.timed()], "now")
    assert page.origin[1] == "Commit c0ffeec0ff; coremltools 9.0, python 3.11.7, 3.12.1."


def test_two_runs_have_an_overview_each():
    rows = [records.record("llama"), records.record("qwen3")]
    page = Page(rows, "now", base="before", before=rows[:1])
    assert [(one.name, [line.rows for line in one.lines]) for one in page.overviews] == [
        ("before", ["1 row"]),
        ("now", ["2 rows"]),
    ]


def test_a_scaled_region_is_listed_with_its_factor_epsilons_and_peaks():
    region = RescaledRecord("stream", 2.0**-3, ("a", "b"), ("w",), (1e-6,), (1.5625e-8,), (), 104_061.0, 13_007.6)
    headers, row = Page([records.record(rescaled=(region,)), records.record("qwen3")], "now").rescaled
    shown = dict(zip(headers, row, strict=True))
    expected = {
        "region of": "stream", "factor": "2^-3", "values": "2", "weights": "1", "epsilon": "1e-06",
        "epsilon after": "1.56e-08", "peak": "104,061", "peak after": "13,008",
    }  # fmt: skip
    assert shown.items() >= expected.items()
    assert Page([records.record()], "now").rescaled == []
