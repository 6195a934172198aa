"""Find figures that go missing: a value is no longer finite, a row fails, or no run has the row any more.

A level has a value, so a search for levels does not find these. A figure that had a value and has none is a change,
from the night it went missing; so is its return.
"""

from __future__ import annotations

from bisect import bisect_right
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from harness.judge.figures import text
from harness.records.schema import ROW
from harness.records.series import Point

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from harness.records.series import Series

NO_ROW = "the run has no such row"
ABSENT_NIGHTS = 2
"""A row is gone if this many of the newest runs that could have it do not: a single one may have been interrupted."""
CASE = ("model", "variant", "lowering", "compression", "compute_units")
"""Fields of :data:`harness.records.schema.ROW` that differ between the rows of one run."""
_WEIGHTS = ROW.index("checkpoint")
_OTHERS = [ROW.index(name) for name in ROW if name not in CASE]


def turns(series: Series) -> list[tuple[Point, Point]]:
    """Return the points between which a figure went missing or came back, the last of before and the first of after.

    Wall times are left out: a step that was skipped because its package was cached has none.
    """
    if series.measure.startswith("seconds."):
        return []
    begun = next((at for at, point in enumerate(series.points) if point.value is not None), len(series.points))
    return [
        (one, other) for one, other in pairwise(series.points[begun:]) if (one.value is None) != (other.value is None)
    ]


def sentence(series: Series, last: Point, night: Point, since: str) -> str:
    """Return a sentence that a figure is missing, or present again, since a night with this name."""
    if night.value is not None:
        again = f"{text(series.measure, night.value)} again since {since}"
        return f"{series.title}: {series.measure} {again}, missing before"
    why, before = night.why or "no finite value", text(series.measure, last.value)
    return f"{series.title}: {series.measure} missing since {since} ({why}), {before} before"


def kind(series: Series, night: Point) -> str:
    """Return the kind of such a change: a missing time is in doubt, any other missing figure is worse."""
    if night.value is not None:
        return "improvement"
    return "suspicious" if series.unit == "s" and not night.why else "regression"


Night: TypeAlias = tuple[str, str]
"""Time and id of a run."""


def ended(series: Sequence[Series], begun: Mapping[str, Mapping[str, str]]) -> dict[int, list[Night]]:
    """Return the runs on its machine after the last point of each series whose row no later run has, by its place.

    Parameters
    ----------
    series: of every row, or of some models.
    begun: when each run began, by machine and id.
    """
    last: dict[tuple[str, ...], Night] = {}
    for one in series:
        key, night = (one.machine, *_blank(one.row)), _last(one, begun)
        last[key] = max(night, last.get(key, night))
    nights = {machine: sorted((time, run_id) for run_id, time in runs.items()) for machine, runs in begun.items()}
    found = {}
    for index, one in enumerate(series):
        night = _last(one, begun)
        if one.points[-1].value is None or last[(one.machine, *_blank(one.row))] != night:
            continue
        later = nights[one.machine][bisect_right(nights[one.machine], night) :]
        if len(later) >= ABSENT_NIGHTS:
            found[index] = later
    return found


def with_absences(
    series: Sequence[Series],
    ended: Mapping[int, Sequence[Night]],
    rows: Mapping[str, set[tuple[str, ...]]],
    others: Callable[[str], Iterable[str] | None],
) -> list[Series]:
    """Return the series with an empty point for each run that could have a row that is gone, and does not.

    Parameters
    ----------
    series: as for :func:`ended`.
    ended: its result.
    rows: the rows of each run, by its id.
    others: returns the models that a run was not asked for, by its id; None if unknown.
    """
    others = cache(others)
    blank = {run_id: {_blank(row) for row in found} for run_id, found in rows.items()}
    result = list(series)
    for index, nights in ended.items():
        row = _blank(series[index].row)
        without = [night for night in nights if _could_have(row, blank.get(night[1], set()), others(night[1]))]
        if len(without) >= ABSENT_NIGHTS:
            points = [Point(run_id, time, None, NO_ROW) for time, run_id in without]
            result[index] = msgspec.structs.replace(series[index], points=(*series[index].points, *points))
    return result


def _could_have(row: tuple[str, ...], rows: set[tuple[str, ...]], others: Iterable[str] | None) -> bool:
    """Return whether a run could have had this row: it has other rows that were made in the same way."""
    if others is not None:
        return row[0] not in others and any(one[1:] == row[1:] for one in rows)
    like = [row[at] for at in _OTHERS]
    return any([one[at] for at in _OTHERS] == like for one in rows)


def _blank(row: tuple[str, ...]) -> tuple[str, ...]:
    """Return a row's identity without its weights: new weights do not make the old row a missing one."""
    return (*row[:_WEIGHTS], "weights" if row[_WEIGHTS] else "", *row[_WEIGHTS + 1 :])


def _last(series: Series, begun: Mapping[str, Mapping[str, str]]) -> Night:
    run_id = series.points[-1].run_id
    return begun[series.machine][run_id], run_id
