"""The records of all runs, grouped by row: of each record only the parts that some figures need are decoded.

The rest of a line, nine tenths of it, is skipped, so that a hundred thousand records take a second. An unreadable file
does not affect the others: it is reported in a sentence, and the table holds the rest.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from operator import attrgetter
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from harness.errors import RecordError, check_name
from harness.judge.figures import OUTCOME
from harness.measure.metrics import METRICS
from harness.records.baselines import COUNTS
from harness.records.outcomes import OUTCOMES, rank
from harness.records.run_files import BUFFER_BYTES, LINE_LIMIT_BYTES, read_records
from harness.records.schema import ROW, SCHEMA_VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from pathlib import Path

MACHINE = ("os", "machine", "chip", "cores")
"""Fields of the environment that tell machines apart."""
DEFAULTS = {"shape": "prefill"}
"""The values, other than an empty text, of row fields that older records leave out."""
REQUIRED = ("run_id", "time", "model")
"""The fields that records of every version have, as they have the environment."""
RANKS = {name: rank(name) for name in OUTCOMES}
_AT_CHECKPOINT = ROW.index("checkpoint")


class Group(NamedTuple):
    """What records have in common that are points of the same series."""

    row: tuple[str, ...]
    """As :attr:`harness.records.schema.Record.row`."""
    definition: str
    machine: tuple[str, ...]
    """The values of :data:`MACHINE`; one is empty where the record has none."""

    @property
    def machine_name(self) -> str:
        """The machine in words."""
        return ", ".join(filter(None, self.machine))


@dataclass(frozen=True, slots=True)
class RecordTable:
    """The records of some runs.

    A point is a tuple: the time, the run's id, the status, the reason, and a value or None for each figure.
    """

    points: dict[Group, list[tuple[Any, ...]]] = field(default_factory=dict)
    """In the order read."""
    environments: dict[str, bytes] = field(default_factory=dict)
    """The environment of the first record of each run, as JSON, by the run's id."""

    def groups(self, models: Collection[str] = ()) -> list[Group]:
        """Return the groups of some models, or all, sorted.

        Raises
        ------
        UnknownNameError: for a model that no record has.
        """
        found = {group.row[0] for group in self.points}
        for model in models:
            check_name("model", model, sorted(found))
        return sorted(group for group in self.points if not models or group.row[0] in models)

    def begun(self) -> dict[str, dict[str, str]]:
        """Return the time of the first record of each run, by the machine in words and the run's id."""
        found: dict[str, dict[str, str]] = {}
        for group, points in self.points.items():
            times = found.setdefault(group.machine_name, {})
            for time, run_id, *_ in points:
                times[run_id] = min(time, times.get(run_id, time))
        return found

    def rows(self, runs: Collection[str]) -> dict[str, set[tuple[str, ...]]]:
        """Return the rows of some runs, by the run's id."""
        found: dict[str, set[tuple[str, ...]]] = {}
        for group, points in self.points.items():
            for _, run_id, *_ in points:
                if run_id in runs:
                    found.setdefault(run_id, set()).add(group.row)
        return found


def known() -> list[str]:
    """Return examples of every kind of figure, for messages."""
    return [*COUNTS, OUTCOME, *METRICS, "seconds.convert", "predict"]


def load(files: Sequence[Path], measures: Sequence[str], damaged: Callable[[str], None] | None = None) -> RecordTable:
    """Return the records of files, with a value for each measure.

    Parameters
    ----------
    files: of records.
    measures: names of figures, see `harness.judge.nightly_series.history`.
    damaged: called with a sentence about each half-written last line, and each file with a part that cannot be read;
        without it, a file that cannot be read is an error.

    Raises
    ------
    RecordError: if nothing can be read; without ``damaged``, for the first file that cannot be read completely.
    """
    reader = _Reader(measures)
    first: RecordError | None = None
    for path in files:
        if reader.read(path):
            continue
        try:  # once more, line by line and completely, to name the line or the remedy
            for _ in read_records(path, damaged):
                pass
        except RecordError as error:
            if damaged is None:
                raise
            damaged(f"{error}; left out")
            first = first or error
    if first is not None and not reader.table.points:
        raise first
    return reader.table


class _Machine(msgspec.Struct, frozen=True):
    """The part of an environment that tells machines apart."""

    os: str = ""
    machine: str = ""
    chip: str = ""
    cores: int | None = None


class _Reader:
    """Decode the needed parts of lines into a table."""

    def __init__(self, measures: Sequence[str]) -> None:
        self.table = RecordTable()
        self._line = msgspec.json.Decoder(_line(measures))
        self._row = attrgetter(*ROW)
        self._point = attrgetter("time", "run_id", "status", "reason", *map(_path, measures))
        self._sampled = [place for place, name in enumerate(measures, 4) if _part(name) == "samples"]
        self._outcomes = [place for place, name in enumerate(measures, 4) if name == OUTCOME]
        self._machines: dict[bytes, tuple[str, ...]] = {}

    def read(self, path: Path) -> bool:
        """Add the records of a file; return whether all of its lines could be read."""
        complete = True
        try:
            with path.open("rb", BUFFER_BYTES) as stream:
                while line := stream.readline(LINE_LIMIT_BYTES + 1):
                    try:
                        complete &= not line.strip() or self._add(self._line.decode(line))
                    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
                        complete = False
        except OSError:
            return False
        return complete

    def _add(self, found: Any) -> bool:
        """Add a record, unless its schema is newer than this harness; return whether it was added."""
        if found.schema_version > SCHEMA_VERSION:
            return False
        environment = bytes(found.environment)
        machine = self._machines.get(environment)
        if machine is None:
            one = msgspec.json.decode(environment, type=_Machine)
            machine = tuple("" if value is None else str(value) for value in msgspec.structs.astuple(one))
            self._machines[environment] = machine
        row = self._row(found)
        if row[_AT_CHECKPOINT] and found.definition:
            row = (*row[:_AT_CHECKPOINT], found.definition, *row[_AT_CHECKPOINT + 1 :])
        point = list(self._point(found))
        for place in self._sampled:
            point[place] = median(point[place]) if point[place] else None
        for place in self._outcomes:
            point[place] = RANKS.get(point[place])
        self.table.points.setdefault(Group(row, found.definition, machine), []).append(tuple(point))
        self.table.environments.setdefault(found.run_id, environment)
        return True


def _part(measure: str) -> str:
    """Return the field of a record that holds a measure.

    Raises
    ------
    RecordError: for a text that is no name of a measure.
    """
    if not re.fullmatch(r"(seconds\.)?\w+", measure):
        raise RecordError(f"{measure}: no name of a figure; known: {', '.join(known())}")
    if measure in COUNTS or measure == OUTCOME:
        return measure
    return "metrics" if measure in METRICS else "seconds" if measure.startswith("seconds.") else "samples"


def _path(measure: str) -> str:
    """Return the attributes that lead to a measure in a line."""
    part = _part(measure)
    return part if part == measure else f"{part}.{_attribute(measure)}"


def _attribute(measure: str) -> str:
    return f"of_{measure.removeprefix('seconds.')}"


def _line(measures: Sequence[str]) -> type[msgspec.Struct]:
    """Return the type of a line with the fields that the measures need."""
    kinds = {"samples": tuple[float, ...] | None, "metrics": float | None, "seconds": float | None}
    fields: list[Any] = [*((name, str) for name in REQUIRED), ("environment", msgspec.Raw)]
    fields += [("schema_version", int, 0), *((name, str, "") for name in ("definition", "status", "reason"))]
    fields += [(name, str, DEFAULTS.get(name, "")) for name in ROW if name not in REQUIRED]
    inside: dict[str, list[Any]] = {}
    for measure in dict.fromkeys(measures):
        part = _part(measure)
        if part in kinds:
            named = msgspec.field(default=None, name=measure.removeprefix("seconds."))
            inside.setdefault(part, []).append((_attribute(measure), kinds[part], named))
        else:
            fields.append((part, str | None if part == OUTCOME else int | None, None))
    for part, some in inside.items():
        kind = msgspec.defstruct(part, some, frozen=True)
        fields.append((part, kind, kind()))
    return msgspec.defstruct("Line", fields, frozen=True)
