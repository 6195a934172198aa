"""The history in a report: the series of its own rows, and which changes stand at the top."""

from __future__ import annotations

from harness.records.series import Change, Point, Series
from harness.report.page.recent_nights import OF_LATE, changes_of_late, nights, own_series
from tests.harness.report import records


def series(record, measure, values, changed=None, **fields):
    """Return a series of a record's row with a value a night; it changed on a night, if any."""
    minute = sum(map(ord, record.model)) % 60  # each row of a run has its own time
    points = tuple(
        Point(f"run{n:03}", f"2026-01-{n + 1:02}T00:{minute:02}:00", value) for n, value in enumerate(values)
    )
    changes = ()
    if changed is not None:
        before, after = values[changed - 1], values[changed]
        words = f"{record.title}: {measure} went up"
        last, night = points[changed - 1], points[changed]
        changes = (Change("regression", night, last, before, after, night.time[:10], words, ("torch 1 to 2",)),)
    default = {
        "model": record.model,
        "title": record.title,
        "row": record.row,
        "unit": "",
        "machine": "",
        "points": points,
    }
    return Series(**{**default, **fields}, measure=measure, changes=changes)


def test_a_record_has_the_series_of_its_row_that_it_is_a_point_of():
    row = records.record(run_id="run002")
    other = records.record("qwen3", run_id="run002")
    here = series(row, "fused", [5.0, 5.0, 5.0])
    elsewhere = series(row, "fused", [5.0, 5.0], machine="another")  # this run is no point of it
    assert own_series([here, elsewhere], [other, row]) == {1: [here]}


def test_times_are_in_milliseconds_and_name_their_executor():
    row = records.timed(run_id="run001")
    own = {
        0: [
            series(row, "predict", [0.004, 0.005], changed=1, unit="s"),
            series(row, "seconds.convert", [1.0, 2.0], unit="s"),
        ]
    }
    page = nights(own, [row])
    assert [night["run"] for night in page["nights"]] == ["run000", "run001"]
    times, step = page["series"]["0"]
    assert (times["metric"], times["values"], times["executor"]) == ("predict, ms", [4.0, 5.0], "coreml")
    levels = {"before": 4.0, "after": 5.0}
    assert times["steps"] == [
        {"night": 1, "since": "2026-01-02", **levels, "between": ("torch 1 to 2",), "commits": ()}
    ]
    assert (step["metric"], step["values"]) == ("seconds.convert, s", [1.0, 2.0])


def test_nights_without_a_row_are_gaps():
    first, second = records.record(run_id="run002"), records.record("qwen3", run_id="run002")
    whole = series(first, "fused", [5.0, 5.0, 5.0])
    late = series(second, "fused", [None, 4.0, 4.0])
    page = nights({0: [whole], 1: [late]}, [first, second])
    assert page["series"]["1"][0]["values"] == [None, 4.0, 4.0]


def test_one_night_is_no_history():
    row = records.record(run_id="run000")
    assert nights({0: [series(row, "fused", [5.0])]}, [row])["series"] == {"0": []}


def test_the_oldest_nights_go_where_there_are_too_many_values(monkeypatch):
    monkeypatch.setattr("harness.report.page.recent_nights.MOST_VALUES", 6)
    rows = [records.record(run_id="run009"), records.record("qwen3", run_id="run009")]
    own = {n: [series(row, "fused", [4.0, 5.0] * 5, changed=1)] for n, row in enumerate(rows)}
    page = nights(own, rows)
    assert [night["run"] for night in page["nights"]] == ["run007", "run008", "run009"]
    assert page["series"]["0"][0]["steps"] == [], "a change on a night that is not shown"


def test_changes_of_the_last_runs_are_listed_and_older_ones_are_not():
    row = records.record(run_id="run029")
    late = series(row, "rel_l2", [1.0] * 20 + [2.0] * 10, changed=20)
    old = series(row, "kl", [1.0] * (30 - OF_LATE - 1) + [2.0] * (OF_LATE + 1), changed=30 - OF_LATE - 1)
    (found,) = changes_of_late({0: [late, old]}, [row])
    assert (found.verdict, found.title, found.sentence) == ("regression", row.title, "rel_l2 went up")


def test_rows_that_changed_alike_on_one_night_share_the_line_of_the_largest_change():
    rows = [records.record(name, run_id="run003") for name in ("llama", "qwen3", "gemma")]
    own = {
        n: [series(row, "predict", [1.0, 1.0, after, after], changed=2)]
        for n, (row, after) in enumerate(zip(rows, (1.1, 1.5, 1.2), strict=True))
    }
    (found,) = changes_of_late(own, rows)
    assert (found.model, found.title) == ("qwen3", f"{rows[1].title} and 2 more rows")
