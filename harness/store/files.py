"""Records on disk: append-only JSON lines under ``results/runs``, tables under ``results/tables``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from harness.errors import OutputError, RecordError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from harness.store.schema import Record


class RunFolder:
    """The results folder of one run: ``runs/<run_id>.jsonl`` and ``tables/<run_id>.md`` below ``root``.

    Raises
    ------
    OutputError: at once, if the folder cannot be written.
    """

    def __init__(self, root: Path, run_id: str) -> None:
        self.run_id = run_id
        self.records = root / "runs" / f"{run_id}.jsonl"
        self.table = root / "tables" / f"{run_id}.md"
        try:
            for path in (self.records, self.table):
                path.parent.mkdir(parents=True, exist_ok=True)
                if not os.access(path.parent, os.W_OK):
                    raise PermissionError(13, "Permission denied")
        except OSError as error:
            raise OutputError(f"{root}: cannot write results there: {error.strerror}. Choose another --out.") from None

    def append(self, record: Record) -> None:
        """Append one record and push it to the disk: a run that is killed loses at most the one in the making."""
        line = msgspec.json.encode(record) + b"\n"
        try:
            with self.records.open("ab") as stream:
                stream.write(line)
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise OutputError(f"{self.records}: cannot write: {error.strerror}") from None

    def write_table(self, text: str) -> None:
        """Write the run's table."""
        try:
            self.table.write_text(text, encoding="utf-8")
        except OSError as error:
            raise OutputError(f"{self.table}: cannot write: {error.strerror}") from None


def read_records(path: Path, damaged: Callable[[str], None] | None = None) -> Iterator[Record]:
    """Yield the records of one file, in order.

    A last line without its line end is what a killed run leaves: it is skipped, and ``damaged`` is told in a sentence.

    Raises
    ------
    RecordError: naming the file and the line that is not a record.
    """
    from harness.store.migrate import decode

    try:
        stream = path.open("rb")
    except OSError as error:
        raise RecordError(f"{path}: cannot read: {error.strerror}") from None
    with stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            try:
                yield decode(line)
            except RecordError as error:
                if line.endswith(b"\n"):
                    raise RecordError(f"{path}:{number}: {error}") from None
                if damaged:
                    damaged(f"{path}:{number}: half-written last line skipped, as a killed run leaves it")
