"""Records on disk: append-only JSON lines under ``results/runs``, tables under ``results/tables``.

A run is two files: ``runs/<id>.json``, its plan, written once; and ``runs/<id>.jsonl``, its records, each appended as
soon as it exists. A killed run loses only the record being made, and can be resumed from the two files.
"""

from __future__ import annotations

import fcntl
import os
import re
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import msgspec

from harness.errors import OutputError, RecordError
from harness.records import atomic
from harness.records.origin import check_origin
from harness.system import limited_read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from harness.records.schema import Record

_ID = re.compile(r"\d{8}T\d{6}\.\d{6}Z", re.ASCII)
_ID_FORM = "%Y%m%dT%H%M%S.%fZ"
PLAN_LIMIT_BYTES = 64 << 20
BUFFER_BYTES = 1 << 20
LINE_LIMIT_BYTES = 16 << 20
"""Size of the longest line read; a record has some kilobytes."""


class Asked(msgspec.Struct, frozen=True):
    """The part of a run's plan that comparisons need."""

    others: tuple[str, ...] | None = None
    """Models of the zoo that the run was not asked for; None if unknown."""


class RunFolder:
    """The results of one run below ``root``: ``runs/<run_id>.jsonl`` and ``.json``, ``tables/<run_id>.md``.

    Made by :meth:`new` or :meth:`resume`, which lock the run: two processes never write the same one.
    """

    def __init__(self, root: Path, run_id: str) -> None:
        self.run_id = run_id
        self.records = root / "runs" / f"{run_id}.jsonl"
        self.plan = root / "runs" / f"{run_id}.json"
        self.table = root / "tables" / f"{run_id}.md"
        self._descriptor = -1

    @classmethod
    def new(cls, root: Path, warn: Callable[[str], None] | None = None) -> RunFolder:
        """Begin a run under an id that sorts after those of the existing runs.

        Parameters
        ----------
        root: the results folder; made if absent.
        warn: called with a sentence if the clock is behind the newest run.

        Raises
        ------
        OutputError: at once, if the folder cannot be written.
        """
        try:
            for name in ("runs", "tables"):
                (root / name).mkdir(parents=True, exist_ok=True)
                if not os.access(root / name, os.W_OK):
                    raise PermissionError(13, "Permission denied")
            moment = datetime.now(timezone.utc)
            newest = max(
                (path.stem for path in (root / "runs").glob("*.jsonl") if _ID.fullmatch(path.stem)), default=""
            )
            if newest >= moment.strftime(_ID_FORM):
                if warn:
                    warn(f"the clock is behind the newest run, {newest}; this run is named to follow it")
                moment = datetime.strptime(newest, _ID_FORM).replace(tzinfo=timezone.utc) + timedelta(microseconds=1)
            while True:
                folder = cls(root, moment.strftime(_ID_FORM))
                try:
                    folder._open(os.O_CREAT | os.O_EXCL)
                except FileExistsError:  # another run began in the same microsecond
                    moment += timedelta(microseconds=1)
                else:
                    return folder
        except OSError as error:
            raise OutputError(
                f"{root}: cannot write results there: {error.strerror}. Choose another --results."
            ) from None

    @classmethod
    def resume(cls, root: Path, run_id: str) -> RunFolder:
        """Resume a run; a half-written last line left by a kill is cut off.

        Raises
        ------
        OutputError: if there is no such run, it cannot be written, or another process is writing it.
        """
        if not _ID.fullmatch(run_id):
            raise OutputError(f"{run_id!r} is no run's id; they look like 20260131T235959.123456Z")
        folder = cls(root, run_id)
        try:
            folder._open(0)
            folder._cut_torn_line()
        except FileNotFoundError:
            raise OutputError(
                f"{folder.records}: no such run. See {folder.records.parent} for those there are."
            ) from None
        except OSError as error:
            raise OutputError(f"{folder.records}: cannot be continued: {error.strerror}") from None
        return folder

    def close(self) -> None:
        """Release the run's lock; a run with neither plan nor records leaves no file."""
        if self._descriptor >= 0:
            if not os.fstat(self._descriptor).st_size and not self.plan.exists():
                self.records.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = -1

    def write_plan(self, plan: bytes) -> None:
        """Write the run's plan, which :meth:`read_plan` of a later process reads."""
        atomic.write(self.plan, plan)

    def write_asked(self, others: tuple[str, ...]) -> None:
        """Write which models of the zoo were not asked for, as the only plan of a run that cannot be resumed."""
        self.write_plan(msgspec.json.encode(Asked(others)))

    def read_plan(self) -> bytes:
        """Return the plan that :meth:`write_plan` wrote.

        Raises
        ------
        RecordError: if it is absent or larger than a plan may be.
        """
        try:
            return limited_read.read(self.plan, PLAN_LIMIT_BYTES)
        except OSError as error:
            raise RecordError(
                f"{self.plan}: cannot read: {error.strerror}; a run without it cannot be resumed"
            ) from None

    def append(self, record: Record) -> None:
        """Append one record and flush it to the disk.

        Raises
        ------
        OutputError: if the disk is full, for example; the records appended before are then intact. Also for a record of
            an executor that is not registered: results hold measurements, never figures of a test's stand-in.
        """
        check_origin(record)
        line = msgspec.json.encode(record) + b"\n"
        size = os.fstat(self._descriptor).st_size
        try:
            rest = line
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
            os.fsync(self._descriptor)
        except OSError as error:
            os.ftruncate(self._descriptor, size)
            raise OutputError(
                f"{self.records}: cannot write: {error.strerror}. The records so far are kept; "
                f"when there is room, continue with --resume {self.run_id}"
            ) from None

    def write_table(self, text: str) -> None:
        """Write the run's table."""
        atomic.write(self.table, text.encode())

    def _open(self, flags: int) -> None:
        self._descriptor = os.open(self.records, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | flags, 0o666)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.close()
            raise OutputError(f"{self.records}: another process is writing this run") from None

    def _cut_torn_line(self) -> None:
        size = os.fstat(self._descriptor).st_size
        end = size
        while end:
            begin = max(0, end - (1 << 16))
            at = os.pread(self._descriptor, end - begin, begin).rfind(b"\n")
            if at >= 0:
                end = begin + at + 1
                break
            end = begin
        if end < size:
            os.ftruncate(self._descriptor, end)


def read_asked(records: Path) -> Asked:
    """Return the comparison's part of the plan beside a file of records.

    Raises
    ------
    RecordError: if the plan cannot be read.
    """
    plan = records.with_suffix(".json")
    try:
        return msgspec.json.decode(limited_read.read(plan, PLAN_LIMIT_BYTES), type=Asked)
    except FileNotFoundError:
        return Asked()
    except OSError as error:
        raise RecordError(f"{plan}: cannot read: {error.strerror}") from None
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise RecordError(f"{plan}: not a run's plan: {error}") from None


def read_records(path: Path, damaged: Callable[[str], None] | None = None) -> Iterator[Record]:
    """Yield the records of one file, in order.

    A killed run leaves a last line without its line end: it is skipped, and ``damaged`` is called with a sentence.

    Raises
    ------
    RecordError: naming the file and the line that is not a record.
    """
    from harness.records.migration import decode

    try:
        with path.open("rb", BUFFER_BYTES) as stream:
            number = 0
            while line := stream.readline(LINE_LIMIT_BYTES + 1):
                number += 1
                if len(line) > LINE_LIMIT_BYTES:
                    raise RecordError(f"{path}:{number}: longer than {LINE_LIMIT_BYTES >> 20} MiB, which no record is")
                if not line.strip():
                    continue
                try:
                    yield decode(line)
                except RecordError as error:
                    if line.endswith(b"\n"):
                        raise RecordError(f"{path}:{number}: {error}") from None
                    if damaged:
                        damaged(f"{path}:{number}: half-written last line skipped, as a killed run leaves it")
    except OSError as error:
        raise RecordError(f"{path}: cannot read: {error.strerror}") from None
