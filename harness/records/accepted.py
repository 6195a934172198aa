"""Accepted changes: ``results/baselines/accepted.jsonl``, committed beside the baselines, one entry a line.

A figure that went to a worse level fails every night until an entry here accepts the new level, with a reason. An entry
covers one figure of one row on one machine, at its level or a better one; a further step for the worse fails again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from harness.errors import RecordError
from harness.records import atomic
from harness.system import limited_read

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

NAME = "accepted.jsonl"
LIMIT_BYTES = 16_000_000


class Accepted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One accepted figure."""

    model: str
    title: str
    """The row in words; see :attr:`harness.records.schema.Record.title`."""
    row: tuple[str, ...]
    """The row's identity, :attr:`harness.records.schema.Record.row`."""
    measure: str
    """The figure: a metric, a count, or a time."""
    before: float | str | None
    """The level it left: a metric, a count, or a median in seconds."""
    after: float | str | None
    """The level that is accepted."""
    since: str
    """Id of the first run at the accepted level."""
    reason: str
    """The reason, in the words of the person who accepted it."""
    time: str
    """When it was accepted, ISO 8601, UTC."""
    machine: str = ""
    """The machine of a time or a count over nights; empty if the figure does not depend on it."""


def read(folder: Path) -> list[Accepted]:
    """Return the entries of a folder of baselines, oldest first; none if there is no such file.

    Raises
    ------
    RecordError: naming the file and the line that is not an entry.
    """
    path = folder / NAME
    try:
        text = limited_read.read(path, LIMIT_BYTES)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RecordError(f"{path}: cannot read: {error.strerror}") from None
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            found.append(msgspec.json.decode(line, type=Accepted))
        except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError) as error:
            raise RecordError(f"{path}:{number}: not an accepted change ({error}); remove or mend the line") from None
    return found


def add(folder: Path, entries: Iterable[Accepted]) -> Path:
    """Append entries to the file of a folder of baselines, atomically; return its path.

    Raises
    ------
    RecordError: if the file there cannot be read.
    OutputError: if it cannot be written.
    """
    path = folder / NAME
    lines = [msgspec.json.encode(one) for one in (*read(folder), *entries)]
    atomic.write(path, b"\n".join(lines) + b"\n")
    return path
