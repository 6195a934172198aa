"""Figures over nights, read from the runs' files, with their changes and what else changed those nights.

A series is one row of one definition on one machine; times and counts of other machines are other series.
"""

from __future__ import annotations

from itertools import pairwise
from operator import itemgetter
from statistics import median
from typing import TYPE_CHECKING, Any, cast

import msgspec

from harness.errors import RecordError
from harness.judge import figures, missing_figures, record_table
from harness.judge.nights_between import Between
from harness.records.lookup import runs
from harness.records.run_files import read_asked
from harness.records.schema import ROW, title_of
from harness.records.series import Change, Point, Series, night_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from harness.judge.record_table import Group, RecordTable

DEFAULT = ("predict", "outcome", "rel_l2", "fused", "ops_after")
"""Figures shown if none is named."""
AGE = itemgetter(0, 1)
"""The order of points: by time, then by the run's id."""
WHY_CHARACTERS = 160
"""Characters shown of the reason why a row has no figure."""


def history(
    results: Path,
    models: Sequence[str] = (),
    measures: Sequence[str] = (),
    damaged: Callable[[str], None] | None = None,
    newest: int | None = None,
) -> list[Series]:
    """Return the series of all runs below a results folder, with their changes.

    Parameters
    ----------
    results: the results folder.
    models: keys of models; none for all.
    measures: a count (``fused``), ``outcome``, a metric (``rel_l2``), a sampled time or share (``predict``,
        ``share_time``: the median of its samples), or a step's wall time (``seconds.convert``); none for
        :data:`DEFAULT`.
    damaged: called with a sentence about each half-written last line, and each file that is left out because it is not
        a record file or cannot be read; without it, a file that cannot be read is an error.
    newest: number of the newest runs that are read; None for all.

    Raises
    ------
    RecordError: without runs, if none can be read, or for a measure that no record has.
    UnknownNameError: for a model that no run has.
    """
    files = runs(results, damaged)
    if not files:
        raise RecordError(f"{results / 'runs'}: holds no run; make one with `ane-harness run`")
    files = files if newest is None else files[-newest:]
    wanted = tuple(measures or DEFAULT)
    table = record_table.load(files, wanted, damaged)
    series = _series(table, wanted, models)
    for name in measures:
        if not any(one.measure == name for one in series):
            others = f"known: {', '.join(one for one in record_table.known() if one != name)}"
            mend = "times come from `ane-harness bench`" if name == "predict" else others
            raise RecordError(f"{name}: no record has such a figure; {mend}")
    begun = table.begun()
    series = _with_absences(series, begun, table, results)
    names = night_names({run_id: time for runs_of in begun.values() for run_id, time in runs_of.items()})
    return _with_changes(series, names, Between(table.environments))


def _series(table: RecordTable, measures: Sequence[str], models: Sequence[str]) -> list[Series]:
    """Return the series of all measures, measure by measure, without their changes."""
    by_row = [_of_row(group, measures, sorted(table.points[group], key=AGE)) for group in table.groups(models)]
    return [one for of_measure in zip(*by_row, strict=True) for one in of_measure if one is not None]


def _of_row(group: Group, measures: Sequence[str], points: Iterable[tuple[Any, ...]]) -> Iterator[Series | None]:
    """Yield the series of each measure of a row, None for one that no run has.

    The points are those of :class:`harness.judge.record_table.RecordTable`, oldest first.
    """
    row = dict(zip(ROW, group.row, strict=True))
    title = title_of(*(row[name] for name in ("model", "variant", "lowering", "shape", "compression")))
    nights = {point[1]: point for point in points}.values()  # if a run has a row twice, after a retry, the last counts
    whys = ["" if night[2] in ("ok", None) else f"{night[2]}: {night[3] or ''}"[:WHY_CHARACTERS] for night in nights]
    for number, measure in enumerate(measures, 4):
        if all(night[number] is None for night in nights):
            yield None
            continue
        yield Series(
            model=row["model"],
            title=title,
            row=group.row,
            measure=measure,
            unit=figures.unit(measure),
            machine=group.machine_name,
            points=tuple(
                [
                    Point(night[1], night[0], night[number], why if night[number] is None else "")
                    for night, why in zip(nights, whys, strict=True)
                ]
            ),
        )


def _with_absences(
    series: Sequence[Series], begun: dict[str, dict[str, str]], table: RecordTable, results: Path
) -> list[Series]:
    """Return the series with a point for each night since a row is gone."""
    ended = missing_figures.ended(series, begun)
    if not ended:
        return list(series)
    rows = table.rows({run_id for nights in ended.values() for _, run_id in nights})
    return missing_figures.with_absences(series, ended, rows, lambda run_id: _others(results, run_id))


def _others(results: Path, run_id: str) -> tuple[str, ...] | None:
    """Return the models that a run was not asked for; None if unknown."""
    try:
        return read_asked(results / "runs" / f"{run_id}.jsonl").others
    except RecordError:  # the plan is not needed to read records
        return None


def _with_changes(series: Sequence[Series], names: dict[str, str], between: Between) -> list[Series]:
    """Return the series with their changes, and the other changes between the nights, whose names are given."""
    from harness.judge.change_points import change_points_of

    present = [[point for point in one.points if point.value is not None] for one in series]
    values = [[cast("float", point.value) for point in points] for points in present]
    noisy = [index for index, one in enumerate(series) if one.measure not in figures.EXACT]
    found = dict(zip(noisy, change_points_of([values[index] for index in noisy]), strict=True))
    changed = []
    for index, one in enumerate(series):
        points = found.get(index)
        if points is None:  # counts are not noisy: every difference is a change
            points = [i for i in range(1, len(values[index])) if values[index][i] != values[index][i - 1]]
        edges = [0, *points, len(values[index])]
        levels = [median(values[index][a:b]) for a, b in pairwise(edges) if b > a]
        own = present[index]
        changes = [
            _change(one, own[at - 1], own[at], (levels[number], levels[number + 1]), names, between)
            for number, at in enumerate(points)
        ]
        nights = {change.night for change in changes}
        turns = [pair for pair in missing_figures.turns(one) if pair[1] not in nights]
        changes += [_turn(one, last, night, names, between) for last, night in turns]
        changed.append(msgspec.structs.replace(one, changes=tuple(sorted(changes, key=lambda one: one.night.time))))
    return changed


def _change(
    series: Series, last: Point, night: Point, levels: tuple[float, float], names: dict[str, str], between: Between
) -> Change:
    """Return a change of a series from one level to the next."""
    before, after = levels
    higher = figures.higher_is_better(series.measure)
    kind = "suspicious" if higher is None else "improvement" if (after > before) == higher else "regression"
    share = f" ({after / before - 1:+.1%})" if before and series.measure not in figures.EXACT else ""
    beside, commits = between.between(last.run_id, night.run_id)
    sentence = (
        f"{series.title}: {series.measure} {figures.text(series.measure, after)} since {names[night.run_id]}, "
        f"{figures.text(series.measure, before)} before{share}{_beside(beside)}"
    )
    return Change(kind, night, last, before, after, names[night.run_id], sentence, beside, commits)


def _turn(series: Series, last: Point, night: Point, names: dict[str, str], between: Between) -> Change:
    """Return the change of a series whose figure goes missing, or is present again."""
    beside, commits = between.between(last.run_id, night.run_id)
    sentence = missing_figures.sentence(series, last, night, names[night.run_id]) + _beside(beside)
    kind = missing_figures.kind(series, night)
    return Change(kind, night, last, last.value, night.value, names[night.run_id], sentence, beside, commits)


def _beside(changed: Sequence[str]) -> str:
    return f"; {'; '.join(changed)}" if changed else "; nothing else changed that the records know of"
