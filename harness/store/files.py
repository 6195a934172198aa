"""Records on disk: append-only JSON lines under ``results/runs``, tables under ``results/tables``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from harness.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator
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


def read_records(path: Path) -> Iterator[Record]:
    """Yield the records of one file, in order.

    Raises
    ------
    OutputError: naming the file and the line that is not a record.
    """
    from harness.store.schema import Record as RecordType

    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            yield msgspec.json.decode(line, type=RecordType)
        except msgspec.DecodeError as error:
            raise OutputError(f"{path}:{number}: not a record: {error}") from None
