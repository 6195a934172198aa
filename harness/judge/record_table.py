"""The records of all runs as a duckdb table of the columns that some figures need.

An unreadable file does not affect the others: it is reported in a sentence, and the table holds the rest.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from harness.errors import RecordError, check_name
from harness.judge.figures import OUTCOME
from harness.measure.metrics import METRICS
from harness.records.baselines import COUNTS
from harness.records.outcomes import OUTCOMES, rank
from harness.records.run_files import read_records
from harness.records.schema import ROW, SCHEMA_VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from duckdb import DuckDBPyConnection

COLUMNS = {
    "run_id": "VARCHAR",
    "time": "VARCHAR",
    "schema_version": "INTEGER",
    "definition": "VARCHAR",
    "status": "VARCHAR",
    "reason": "VARCHAR",
    **dict.fromkeys(ROW, "VARCHAR"),
    "environment": "JSON",
}
_RECORD = "run_id IS NOT NULL AND time IS NOT NULL AND model IS NOT NULL AND environment IS NOT NULL"
"""The fields that records of every version have."""


def _column(measure: str) -> tuple[str, str, str]:
    """Return the column that holds a measure, its type, and the expression that takes the measure from it."""
    if not re.fullmatch(r"(seconds\.)?\w+", measure):
        raise RecordError(f"{measure}: no name of a figure; known: {', '.join(known())}")
    if measure in COUNTS:
        return measure, "INTEGER", measure
    if measure == OUTCOME:
        cases = " ".join(f"WHEN '{name}' THEN {rank(name)}" for name in OUTCOMES)
        return measure, "VARCHAR", f"CASE outcome {cases} END"
    if measure in METRICS:
        return "metrics", f'"{measure}" DOUBLE', f'metrics."{measure}"'
    if measure.startswith("seconds."):
        step = measure.partition(".")[2]
        return "seconds", f'"{step}" DOUBLE', f'seconds."{step}"'
    return "samples", f'"{measure}" DOUBLE[]', f"list_aggregate(samples.\"{measure}\", 'median')"


def known() -> list[str]:
    """Return examples of every kind of figure, for messages."""
    return [*COUNTS, OUTCOME, *METRICS, "seconds.convert", "predict"]


def load(
    connection: DuckDBPyConnection,
    files: Sequence[Path],
    measures: Sequence[str],
    damaged: Callable[[str], None] | None = None,
) -> None:
    """Read the columns that some measures need from all files into the table ``records``, a column for each measure.

    Parameters
    ----------
    connection: where the table is made.
    files: of records.
    measures: names of figures, see `harness.judge.nightly_series.history`.
    damaged: called with a sentence about each half-written last line, and each file with a part that cannot be read;
        without it, a file that cannot be read is an error.

    Raises
    ------
    RecordError: if nothing can be read; without ``damaged``, for the first file that cannot be read completely.
    """
    import duckdb

    query = _query({name: _column(name) for name in measures})
    names = [str(path) for path in files]
    try:
        connection.execute(f"CREATE TEMP TABLE records AS {query}", [names])
    except duckdb.Error as error:
        if damaged is None:
            raise RecordError(f"{files[0].parent}: {_first_line(error)}") from None
        _load_one_by_one(connection, query, names, damaged)
    unread = _check(connection, files, damaged)
    unreadable = f"NOT ({_RECORD}) OR coalesce(schema_version, 0) > {SCHEMA_VERSION}"
    connection.execute(f"DELETE FROM records WHERE {unreadable}")  # noqa: S608 - constants
    if unread is not None and connection.execute("SELECT 1 FROM records LIMIT 1").fetchone() is None:
        raise unread


def _query(wanted: dict[str, tuple[str, str, str]]) -> str:
    """Return the query for the columns and figures from files given as its parameter."""
    columns = dict(COLUMNS)
    structs: dict[str, list[str]] = {}
    for column, kind, _ in wanted.values():
        if column in COUNTS or column == OUTCOME:
            columns[column] = kind
        else:
            structs.setdefault(column, []).append(kind)
    columns |= {column: f"STRUCT({', '.join(fields)})" for column, fields in structs.items()}
    spec = ", ".join(f"{name}: '{kind}'" for name, kind in columns.items())
    figures = ", ".join(f'{expression} AS "{name}"' for name, (_, _, expression) in wanted.items())
    return (
        f"SELECT {', '.join(COLUMNS)}, {figures} FROM read_json(?, "  # noqa: S608 - names are checked
        f"format = 'newline_delimited', ignore_errors = true, columns = {{{spec}}})"
    )


def _load_one_by_one(
    connection: DuckDBPyConnection, query: str, names: Sequence[str], damaged: Callable[[str], None]
) -> None:
    """Read file by file, to find the one that cannot be read."""
    import duckdb

    made, first = False, ""
    for name in names:
        try:
            connection.execute(
                f"INSERT INTO records {query}" if made else f"CREATE TEMP TABLE records AS {query}", [[name]]
            )
            made = True
        except duckdb.Error as error:
            first = first or f"{name}: cannot be read: {_first_line(error)}"
            damaged(f"{name}: left out: {_first_line(error)}")
    if not made:
        raise RecordError(first)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:300]


def _check(
    connection: DuckDBPyConnection, files: Sequence[Path], damaged: Callable[[str], None] | None
) -> RecordError | None:
    """Read a file that duckdb could not read or does not know again, line by line, to name the line or the remedy.

    The first error is raised, or reported and returned.
    """
    unread, newest = connection.execute(
        f"SELECT count(*) FILTER (NOT ({_RECORD})), max(schema_version) FROM records"  # noqa: S608 - constants
    ).fetchone() or (0, 0)
    suspects = list(files) if unread > 0 or (newest or 0) > SCHEMA_VERSION else []
    torn = [path for path in suspects if not _whole(path)]
    first: RecordError | None = None
    for path in torn if len(torn) == unread and (newest or 0) <= SCHEMA_VERSION else suspects:
        try:
            for _ in read_records(path, damaged):
                pass
        except RecordError as error:
            if damaged is None:
                raise
            damaged(f"{error}; left out")
            first = first or error
    return first


def _whole(path: Path) -> bool:
    """Return whether the last line of a file is complete."""
    with path.open("rb") as stream:
        stream.seek(0, 2)
        if not stream.tell():
            return True
        stream.seek(-1, 2)
        return stream.read() == b"\n"


def check_models(connection: DuckDBPyConnection, models: Sequence[str]) -> None:
    """Raise UnknownNameError for a model that no record has."""
    if models:
        found = [name for (name,) in connection.execute("SELECT DISTINCT model FROM records").fetchall()]
        for model in models:
            check_name("model", model, found)
