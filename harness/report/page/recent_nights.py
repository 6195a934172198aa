"""A report's data on the nights before: the series of its own rows, and the recent changes."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from harness.report.page.findings import Finding, finding
from harness.system.text import plural

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harness.records.schema import Record
    from harness.records.series import Change, Series

MOST_VALUES = 500_000
"""Largest number of values of all series in a page; beyond it the oldest nights are left out."""
OF_LATE = 14
"""Number of runs, counted back from this one, whose changes the top of the page lists."""
MILLISECONDS = 1e3


def own_series(series: Iterable[Series], records: Sequence[Record]) -> dict[int, list[Series]]:
    """Return the series of each record, by its place: the series of its row that have this run as a point.

    A row of another machine or another definition is another series, without a point of this run.
    """
    places = {(record.row, record.run_id): index for index, record in enumerate(records)}
    found: dict[int, list[Series]] = {}
    for one in series:
        for point in one.points:
            if (one.row, point.run_id) in places:
                found.setdefault(places[one.row, point.run_id], []).append(one)
                break
    return found


def nights(own: dict[int, list[Series]], records: Sequence[Record]) -> dict[str, Any]:
    """Return ``nights``, oldest first, and by the record's place ``series``: a value a night, and the changes."""
    every = [one for members in own.values() for one in members]
    begun: dict[str, str] = {}  # each row of a run has its own time: the first is the run's
    for point in (point for one in every for point in one.points):
        begun[point.run_id] = min(point.time, begun.get(point.run_id, point.time))
    runs = sorted((time, run_id) for run_id, time in begun.items())
    runs = runs[-max(2, MOST_VALUES // max(1, len(every))) :]
    place = {run_id: number for number, (_, run_id) in enumerate(runs)}
    return {
        "nights": [{"run": run_id, "time": time} for time, run_id in runs],
        "series": {
            str(index): [_values(one, place, records[index]) for one in members if len(one.points) > 1]
            for index, members in own.items()
        },
    }


def changes_of_late(own: dict[int, list[Series]], records: Sequence[Record]) -> list[Finding]:
    """Return the changes within the last :data:`OF_LATE` runs of each series, those for the worse first.

    Rows whose figure changed in the same way on one night share a line.
    """
    run_ids = {record.run_id for record in records}
    found = []
    for one in (one for members in own.values() for one in members):
        until = max(number for number, point in enumerate(one.points) if point.run_id in run_ids)
        late = {point.run_id for point in one.points[max(0, until - OF_LATE + 1) : until + 1]}
        found += [(one, change) for change in one.changes if change.night.run_id in late]
    alike: dict[tuple[str, str, str], list[tuple[Series, Change]]] = {}
    for one, change in found:
        alike.setdefault((change.kind, one.measure, change.night.run_id), []).append((one, change))
    lines = [_finding(members) for members in alike.values()]
    return sorted(lines, key=lambda one: ("regression", "suspicious", "improvement").index(one.verdict))


def _finding(alike: list[tuple[Series, Change]]) -> Finding:
    """Return one line for the changes of several rows on one night: that of the largest change."""
    series, change = max(alike, key=lambda one: _size(one[1]))
    line = finding(change.kind, series.model, series.title, change.sentence)
    more = len(alike) - 1
    return replace(line, title=f"{line.title} and {plural(more, 'more row')}") if more else line


def _size(change: Change) -> float:
    """Return the relative change of a figure; a figure that goes missing counts as the largest change."""
    if change.before is None or change.after is None:
        return math.inf
    return abs(change.after - change.before) / (abs(change.before) or 1.0)


def _values(series: Series, place: dict[str, int], record: Record) -> dict[str, Any]:
    scale, unit = _unit(series)
    values: list[float | None] = [None] * len(place)
    for point in series.points:
        if point.run_id in place and point.value is not None:
            values[place[point.run_id]] = point.value * scale
    steps = [
        {
            "night": place[change.night.run_id],
            "since": change.since,
            "before": None if change.before is None else change.before * scale,
            "after": None if change.after is None else change.after * scale,
            "between": change.between,
            "commits": change.commits,
        }
        for change in series.changes
        if change.night.run_id in place
    ]
    return {"metric": series.measure + unit, "executor": record.executor, "values": values, "steps": steps}


def _unit(series: Series) -> tuple[float, str]:
    """Return the factor for a series' values, and the unit that then follows its measure."""
    if series.unit != "s":
        return 1, ""
    return (1, ", s") if series.measure.startswith("seconds.") else (MILLISECONDS, ", ms")
