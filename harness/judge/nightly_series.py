"""Figures over nights, read from the runs' files by duckdb, with the nights they changed and what else changed then.

Only the columns asked for are read, and duckdb groups them by row: a hundred thousand records take a second. A series
is one row of one definition on one machine; times and counts of other machines are other series.
"""

from __future__ import annotations

import re
from itertools import pairwise
from operator import itemgetter
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, cast

from harness.errors import RecordError, check_name
from harness.measure.metrics import METRICS
from harness.records.baselines import COUNTS
from harness.records.lookup import runs
from harness.records.run_files import read_records
from harness.records.schema import ROW, SCHEMA_VERSION, Environment, title_of
from harness.records.series import Change, Point, Series
from harness.system.command import output

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from duckdb import DuckDBPyConnection

DEFAULT = ("predict", "rel_l2", "fused", "ops_after")
"""Figures shown where none is named."""
HIGHER_IS_BETTER = ("fused", "norms_executed", "norms_expected", "cosine", "top1")
NEITHER = ("missed",)
MACHINE = ("os", "machine", "chip", "cores")
"""Fields of the environment that tell machines apart."""
DEFAULTS = {**dict.fromkeys(ROW, ""), "shape": "prefill", "definition": ""}
"""What older records mean by leaving a field of the row out."""
COLUMNS = {
    "run_id": "VARCHAR",
    "time": "VARCHAR",
    "schema_version": "INTEGER",
    "definition": "VARCHAR",
    **dict.fromkeys(ROW, "VARCHAR"),
    "environment": "JSON",
}


def history(
    results: Path,
    models: Sequence[str] = (),
    measures: Sequence[str] = (),
    damaged: Callable[[str], None] | None = None,
) -> list[Series]:
    """Return the series of all runs below a results folder, with their changes.

    Parameters
    ----------
    results: the results folder.
    models: keys of models; none for all.
    measures: a count (``fused``), a metric (``rel_l2``), a sampled time (``predict``: the median of its samples), or a
        step's wall time (``seconds.convert``); none for :data:`DEFAULT`.
    damaged: told of each half-written last line.

    Raises
    ------
    RecordError: without runs, for one that cannot be read, or for a measure that no record has.
    UnknownNameError: for a model that no run has.
    """
    import duckdb

    files = runs(results)
    if not files:
        raise RecordError(f"{results / 'runs'}: holds no run; make one with `ane-harness run`")
    wanted = tuple(measures or DEFAULT)
    with duckdb.connect() as connection:
        connection.execute("SET enable_progress_bar = false; SET preserve_insertion_order = false")
        _load(connection, files, {name: _column(name) for name in wanted})
        _check(connection, files, damaged)
        _check_models(connection, models)
        series = _series(connection, wanted, models)
        for name in measures:
            if not any(one.measure == name for one in series):
                others = f"known: {', '.join(one for one in known() if one != name)}"
                mend = "times come from `ane-harness bench`" if name == "predict" else others
                raise RecordError(f"{name}: no record has such a figure; {mend}")
        return _with_changes(series, connection)


def _column(measure: str) -> tuple[str, str, str]:
    """Return the column that holds a measure, its type, and the expression that takes the measure from it."""
    if not re.fullmatch(r"(seconds\.)?\w+", measure):
        raise RecordError(f"{measure}: no name of a figure; known: {', '.join(known())}")
    if measure in COUNTS:
        return measure, "INTEGER", measure
    if measure in METRICS:
        return "metrics", f'"{measure}" DOUBLE', f'metrics."{measure}"'
    if measure.startswith("seconds."):
        step = measure.partition(".")[2]
        return "seconds", f'"{step}" DOUBLE', f'seconds."{step}"'
    return "samples", f'"{measure}" DOUBLE[]', f"list_aggregate(samples.\"{measure}\", 'median')"


def known() -> list[str]:
    """Return examples of every kind of figure, for messages."""
    return [*COUNTS, *METRICS, "seconds.convert", "predict"]


def _load(connection: DuckDBPyConnection, files: Sequence[Path], wanted: dict[str, tuple[str, str, str]]) -> None:
    """Read the columns wanted of all files into the table ``records``."""
    columns = dict(COLUMNS)
    structs: dict[str, list[str]] = {}
    for column, kind, _ in wanted.values():
        if column in COUNTS:
            columns[column] = kind
        else:
            structs.setdefault(column, []).append(kind)
    columns |= {column: f"STRUCT({', '.join(fields)})" for column, fields in structs.items()}
    spec = ", ".join(f"{name}: '{kind}'" for name, kind in columns.items())
    figures = ", ".join(f'{expression} AS "{name}"' for name, (_, _, expression) in wanted.items())
    connection.execute(
        f"CREATE TEMP TABLE records AS SELECT {', '.join(COLUMNS)}, {figures} FROM read_json(?, "  # noqa: S608 - names are checked
        f"format = 'newline_delimited', ignore_errors = true, columns = {{{spec}}})",
        [[str(path) for path in files]],
    )


def _check(connection: DuckDBPyConnection, files: Sequence[Path], damaged: Callable[[str], None] | None) -> None:
    """Read once more, line by line, what duckdb could not read or does not know: that names the line, or the remedy."""
    unread, newest = connection.execute(
        "SELECT count(*) FILTER (run_id IS NULL), max(schema_version) FROM records"
    ).fetchone() or (0, 0)
    suspects = files if unread > 0 or (newest or 0) > SCHEMA_VERSION else []
    torn = [path for path in suspects if not _whole(path)]
    for path in torn if len(torn) == unread and (newest or 0) <= SCHEMA_VERSION else suspects:
        for _ in read_records(path, damaged):
            pass


def _whole(path: Path) -> bool:
    """Whether the last line of a file has its line end."""
    with path.open("rb") as stream:
        stream.seek(0, 2)
        if not stream.tell():
            return True
        stream.seek(-1, 2)
        return stream.read() == b"\n"


def _check_models(connection: DuckDBPyConnection, models: Sequence[str]) -> None:
    if models:
        found = [name for (name,) in connection.execute("SELECT DISTINCT model FROM records").fetchall()]
        for model in models:
            check_name("model", model, found)


def _series(connection: DuckDBPyConnection, measures: Sequence[str], models: Sequence[str]) -> list[Series]:
    """Return the series of all measures, measure by measure, without their changes."""
    where = f"AND model IN ({', '.join('?' * len(models))})" if models else ""
    points = ", ".join(f'"{name}"' for name in ("time", "run_id", *measures))
    keys = [f"coalesce({name}, '{DEFAULTS[name]}')" for name in (*ROW, "definition")]
    keys += [f"environment->>'$.{name}'" for name in MACHINE]
    rows = connection.execute(
        f"SELECT {', '.join(keys)}, list(row({points})) FROM records "  # noqa: S608 - names are checked
        f"WHERE run_id IS NOT NULL {where} GROUP BY {', '.join(keys)} ORDER BY {', '.join(keys)}",
        list(models),
    ).fetchall()
    for row in rows:
        row[-1].sort(key=itemgetter(0, 1))
    by_row = [_of_row(row[:-1], measures, row[-1]) for row in rows]
    return [one for of_measure in zip(*by_row, strict=True) for one in of_measure if one is not None]


def _of_row(
    keys: tuple[Any, ...], measures: Sequence[str], points: Iterable[tuple[Any, ...]]
) -> Iterator[Series | None]:
    """Yield the series of each measure of a row, None for one that no run has; a point is a time, a run and values."""
    row = dict(zip(ROW, keys, strict=False))
    title = title_of(*(row[name] for name in ("model", "variant", "lowering", "shape", "compression")))
    machine = ", ".join(filter(None, keys[len(ROW) + 1 :]))
    nights = {point[1]: point for point in points}.values()  # of a row that a run has twice, retried, the last counts
    for number, measure in enumerate(measures, 2):
        if all(night[number] is None for night in nights):
            yield None
            continue
        yield Series(
            model=row["model"],
            title=title,
            row=keys[: len(ROW)],
            measure=measure,
            unit="1" if measure in COUNTS else "" if measure in METRICS else "s",
            machine=machine,
            points=tuple([Point(night[1], night[0], night[number]) for night in nights]),
        )


def _with_changes(series: Sequence[Series], connection: DuckDBPyConnection) -> list[Series]:
    """Return the series with their changes, and what was between the nights."""
    import msgspec

    from harness.judge.change_points import change_points_of

    present = [[point for point in one.points if point.value is not None] for one in series]
    values = [[cast("float", point.value) for point in points] for points in present]
    noisy = [index for index, one in enumerate(series) if one.measure not in COUNTS]
    found = dict(zip(noisy, change_points_of([values[index] for index in noisy]), strict=True))
    runs_between = _Between(connection)
    changed = []
    for index, one in enumerate(series):
        points = found.get(index)
        if points is None:  # counts are not noisy: every difference is a change
            points = [i for i in range(1, len(values[index])) if values[index][i] != values[index][i - 1]]
        if not points:
            changed.append(one)
            continue
        edges = [0, *points, len(values[index])]
        levels = [median(values[index][a:b]) for a, b in pairwise(edges) if b > a]
        changes = tuple(
            runs_between.change(one, present[index][at - 1], present[index][at], levels[number], levels[number + 1])
            for number, at in enumerate(points)
        )
        changed.append(msgspec.structs.replace(one, changes=changes))
    return changed


class _Between:
    """What else changed between two runs."""

    def __init__(self, connection: DuckDBPyConnection) -> None:
        self._connection = connection
        self._commits: dict[tuple[str, str], tuple[str, ...]] = {}

    def change(self, series: Series, last: Point, night: Point, before: float, after: float) -> Change:
        """Return a change of a series from one point to the next."""
        between, commits = self._between(last.run_id, night.run_id)
        up = after > before
        better = up == (series.measure in HIGHER_IS_BETTER)
        kind = "suspicious" if series.measure in NEITHER else "improvement" if better else "regression"
        share = f" ({after / before - 1:+.1%})" if before and series.measure not in COUNTS else ""
        what = f"; {'; '.join(between)}" if between else "; nothing else changed that the records know of"
        sentence = (
            f"{series.title}: {series.measure} {series.figure(after)} since {night.run_id}, "
            f"{series.figure(before)} before{share}{what}"
        )
        return Change(kind, night, last, before, after, sentence, between, commits)

    def _between(self, last: str, night: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        import msgspec

        query = "SELECT environment FROM records WHERE run_id = ? LIMIT 1"
        old, new = (
            msgspec.json.decode((self._connection.execute(query, [run]).fetchone() or ("{}",))[0], type=Environment)
            for run in (last, night)
        )
        commits = self._log(old.git_commit, new.git_commit) if old.git_commit != new.git_commit else ()
        return tuple(differences(old, new, len(commits))), commits

    def _log(self, old: str, new: str) -> tuple[str, ...]:
        """Return the commits between two, newest first, where this checkout has them."""
        if (old, new) not in self._commits:
            folder = Path(__file__).parent
            words = ("git", "-C", str(folder), "log", "--format=%h %s", f"{old}..{new}", "--")
            known_to_git = re.fullmatch("[0-9a-f]+", old) and re.fullmatch("[0-9a-f]+", new)
            said = output(*words) if known_to_git else None
            self._commits[old, new] = tuple((said or "").splitlines())
        return self._commits[old, new]


def differences(old: Environment, new: Environment, commits: int = 0) -> Iterator[str]:
    """Yield what differs between two environments: ``coremltools 9.0 to 9.1``."""
    if old.git_commit != new.git_commit:
        many = f" ({commits} commit{'s' * (commits != 1)})" if commits else ""
        yield f"commit {old.git_commit[:10] or 'unknown'} to {new.git_commit[:10] or 'unknown'}{many}"
    for name in ("os", "chip"):
        if getattr(old, name) != getattr(new, name):
            yield f"{getattr(old, name)} to {getattr(new, name)}"
    for name in {**old.versions, **new.versions}:
        before, now = old.versions.get(name), new.versions.get(name)
        if before != now:
            yield f"{name} {before or 'none'} to {now or 'none'}"
