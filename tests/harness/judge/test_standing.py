"""A worse level stands on every night until the figure comes back or the level is accepted."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest

from harness.judge.figures import OUTCOME
from harness.judge.nightly_series import history
from harness.judge.standing import standing, with_standing
from harness.records.accepted import Accepted
from harness.records.outcomes import rank
from harness.records.series import Change, Point, Series
from harness.records.verdicts import Verdict
from tests.harness.example_records import METRICS, record, write_run

ROW = ("llama", "on")


def series(*levels: float, measure: str = "predict", unit: str = "s", rising_is_worse: bool = True) -> Series:
    """Return a series of ten nights a level, with a change between the levels."""
    values = [level for level in levels for _ in range(10)]
    points = [Point(f"run{i:03}", f"2026-01-{i + 1:02}T01:00:00+00:00", value) for i, value in enumerate(values)]
    changes = []
    for number, (before, after) in enumerate(pairwise(levels), 1):
        kind = "regression" if (after > before) == rising_is_worse else "improvement"
        at = number * 10
        changes.append(Change(kind, points[at], points[at - 1], before, after, points[at].time[:10], f"{kind} at {at}"))
    return Series("llama", "llama on", ROW, measure, unit, "Mac", tuple(points), tuple(changes))


def accepted(after: float, measure: str = "predict", machine: str = "Mac") -> Accepted:
    return Accepted("llama", "llama on", ROW, measure, 1.0, after, "run010", "a new torch", "2026-02-01", machine)


@pytest.mark.parametrize(
    ("levels", "before", "after", "since"),
    [
        ((1.0, 1.4), 1.0, 1.4, "2026-01-11"),
        ((1.0, 1.06), 1.0, 1.06, "2026-01-11"),
        ((1.0, 1.4, 1.3), 1.0, 1.3, "2026-01-11"),  # a little better is still worse than it was
        ((1.0, 0.8, 1.0), 0.8, 1.0, "2026-01-21"),  # what was gained is lost again
        ((1.0, 1.2, 1.4), 1.0, 1.4, "2026-01-11"),
    ],
)
def test_a_worse_level_stands(levels, before, after, since):
    (one,) = standing([series(*levels)])
    verdict = one.verdict()
    assert (one.before, one.after, verdict.kind) == (before, after, "regression")
    assert f"since {since}" in verdict.sentence
    assert verdict.row == ROW


@pytest.mark.parametrize("levels", [(1.0,), (1.0, 0.7), (1.0, 1.4, 1.0), (1.0, 1.4, 1.01)])
def test_a_level_as_good_as_the_best_does_not_stand(levels):
    assert standing([series(*levels)]) == []


def test_for_a_count_that_should_be_high_less_is_worse():
    lost = series(33, 32, measure="fused", unit="1", rising_is_worse=False)
    found = series(33, 32, 33, measure="fused", unit="1", rising_is_worse=False)
    assert [one.after for one in standing([lost, found])] == [32]


def test_an_accepted_level_is_seen_and_not_a_regression():
    (one,) = standing([series(1.0, 1.4)], [accepted(1.4)])
    assert one.verdict().kind == "accepted"
    assert "a new torch" in one.verdict().sentence


def test_a_step_beyond_the_accepted_level_stands_against_it():
    (one,) = standing([series(1.0, 1.4, 1.6)], [accepted(1.4)])
    assert (one.verdict().kind, one.before, one.after) == ("regression", 1.4, 1.6)


@pytest.mark.parametrize("entry", [accepted(1.2), accepted(1.4, measure="load"), accepted(1.4, machine="another")])
def test_an_entry_covers_its_own_figure_level_and_machine_alone(entry):
    (one,) = standing([series(1.0, 1.4)], [entry])
    assert one.verdict().kind == "regression"


def test_a_figure_has_one_verdict():
    gate = Verdict("regression", "llama", "llama on", "predict", "llama on: slower", ROW, 1.0, 1.4)
    stands = standing([series(1.0, 1.4)])
    assert with_standing([gate], stands) == [gate]
    other = Verdict("unchanged", "llama", "llama on", "gates", "llama on: as before", ROW)
    assert [one.kind for one in with_standing([other], stands)] == ["unchanged", "regression"]


def test_what_a_gate_refuses_can_be_accepted_too():
    gate = Verdict("regression", "llama", "llama on", "rel_l2", "llama on: rel_l2 2e-3", ROW, 1e-3, 2e-3)
    (one,) = with_standing([gate], [], [accepted(2e-3, measure="rel_l2", machine="")])
    assert (one.kind, one.sentence) == ("accepted", "llama on: rel_l2 2e-3; accepted: a new torch")
    worse = Verdict("regression", "llama", "llama on", "rel_l2", "llama on: rel_l2 9e-3", ROW, 1e-3, 9e-3)
    assert with_standing([worse], [], [accepted(2e-3, measure="rel_l2", machine="")]) == [worse]


def test_a_figure_that_is_missing_stands_until_it_is_there_again_or_accepted(tmp_path):
    def night(day, value):
        one = record(metrics={**METRICS, "rel_l2": value}, time=f"2026-01-{day:02}T00:00:00+00:00")
        write_run(tmp_path, f"202601{day:02}T000000.000000Z", [one])

    for day, value in enumerate([1e-3, 1e-3, None, None], 1):
        night(day, value)
    (series,) = history(tmp_path, measures=["rel_l2"])
    (stands,) = standing([series])
    assert (stands.before, stands.after, stands.verdict().kind) == (1e-3, None, "regression")
    assert "rel_l2 missing since 2026-01-03, 1.00e-03 before" in stands.verdict().sentence
    night(5, 1e-3)
    assert standing(history(tmp_path, measures=["rel_l2"])) == []


def test_one_good_night_is_no_level_to_be_held():
    points = [Point(f"run{i}", f"2026-01-0{i + 1}T00:00:00+00:00", value) for i, value in enumerate((111, 100, 111))]
    changes = (
        Change("improvement", points[1], points[0], 111, 100, "2026-01-02", "fewer"),
        Change("regression", points[2], points[1], 100, 111, "2026-01-03", "as before"),
    )
    assert standing([Series("llama", "llama on", ROW, "ops_after", "1", "Mac", tuple(points), changes)]) == []


@pytest.mark.parametrize(
    ("levels", "since", "kind"),
    [
        ((1.0, 1.4, 1.0, 1.4), "run010", "regression"),  # mended after it was accepted, and as bad again
        ((1.0, 1.4, 1.2, 1.4), "run010", "regression"),  # a level between that lasted is held to as well
        ((1.0, 1.4, 1.0, 1.4), "run030", "accepted"),  # the earlier time it was as bad has no part in it
        ((1.0, 1.4, 1.38, 1.4), "run010", "accepted"),  # better by less than the floor
        ((1.0, 1.4), "run008", "accepted"),  # later nights move the estimate of the night by some
        ((1.0, 1.4), "run012", "accepted"),
    ],
)
def test_an_entry_counts_until_the_figure_has_been_better(levels, since, kind):
    entry = msgspec.structs.replace(accepted(1.4), since=since)
    (one,) = standing([series(*levels)], [entry])
    assert one.verdict().kind == kind


def test_an_entry_for_a_missing_figure_counts_until_it_is_there_again(tmp_path):
    for day, value in enumerate([1e-3, None, None, 1e-3, None], 1):
        one = record(metrics={**METRICS, "rel_l2": value}, time=f"2026-01-{day:02}T00:00:00+00:00")
        write_run(tmp_path, f"202601{day:02}T000000.000000Z", [one])
    (found,) = history(tmp_path, measures=["rel_l2"])
    for since, kind in (("20260102T000000.000000Z", "regression"), ("20260105T000000.000000Z", "accepted")):
        entry = Accepted("llama", found.title, found.row, "rel_l2", 1e-3, None, since, "known", "", found.machine)
        assert [one.verdict().kind for one in standing([found], [entry])] == [kind]


def test_an_entry_of_a_gate_covers_the_figure_over_nights_on_any_machine():
    (one,) = standing([series(1.0, 1.4)], [accepted(1.4, machine="")])
    assert one.verdict().kind == "accepted"
    ranks = series(0, rank("collapsed"), measure=OUTCOME, unit="1")
    entry = msgspec.structs.replace(accepted(0, measure=OUTCOME, machine=""), after="collapsed")
    assert [one.verdict().kind for one in standing([ranks], [entry])] == ["accepted"]


def test_what_a_gate_refuses_is_not_accepted_where_it_stands_anew():
    gate = Verdict("regression", "llama", "llama on", "predict", "llama on: slower", ROW, 1.0, 1.4)
    entries = [accepted(1.4)]
    again = standing([series(1.0, 1.4, 1.0, 1.4)], entries)
    assert with_standing([gate], again, entries) == [gate]
    assert [one.kind for one in with_standing([gate], standing([series(1.0, 1.4)], entries), entries)] == ["accepted"]
