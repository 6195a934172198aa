"""The expected state: ``results/baselines/<model>.json``, committed, one file a model so that a diff reads by model.

A baseline holds the figures that do not depend on the machine: counts, ops, statuses, sites, and the precision of the
reference executor with a stated tolerance. Times are in it only on request, each under the machine that it was measured
on.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

import msgspec

from harness.errors import RecordError
from harness.records import atomic, listing
from harness.records.machine import Condition
from harness.records.outcomes import outcome_of
from harness.records.schema import row_of, title_of
from harness.system import limited_read
from harness.system.text import MODEL_KEY

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


BASELINE_VERSION = 1
LIMIT_BYTES = 64_000_000
"""Size of the largest file read; a model's baseline has some kilobytes per row."""

COUNTS: dict[str, bool | None] = {
    "norms_expected": True,
    "norms_executed": True,
    "fused": True,
    "missed": None,
    "ops_before": False,
    "ops_after": False,
    "norm_ops": False,
}
"""Fields of a record that must be exactly as expected, with whether more is better; None if it is neither."""


class Tolerance(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The allowed move of a metric: ``absolute + relative * d``; ``d`` is the baseline's distance from the best."""

    relative: float
    absolute: float


class ExpectedTimes(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The times of one row on one machine, as one session measured them."""

    samples: dict[str, tuple[float, ...]]
    """Seconds by name, as in :attr:`harness.records.schema.Record.samples`."""
    pair: str = ""
    """The session in which rows were measured in turn, :attr:`harness.records.schema.Record.pair`."""
    condition: Condition | None = None


class Expectation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The expectation of one row. In the file, a field at its default is left out."""

    model: str
    variant: str
    lowering: str = ""
    shape: str = "prefill"
    compression: str = ""
    checkpoint: str = ""
    size: str = "quick"
    frontend: str = "trace"
    compute_units: str = ""
    compute_precision: str = ""
    executor: str = ""
    policy: str = ""
    definition: str = ""
    status: str = "ok"
    reason: str = ""
    norms_expected: int | None = None
    norms_executed: int | None = None
    fused: int | None = None
    missed: int | None = None
    ops_before: int | None = None
    ops_after: int | None = None
    norm_ops: int | None = None
    metrics: dict[str, float | None] = {}
    """None if the metric was not finite."""
    fused_sites: dict[str, str] = {}
    """Torch module, or "", by the value's name in the program."""
    missed_sites: dict[str, str] = {}
    times: dict[str, ExpectedTimes] = {}
    """Times by the machine that they were measured on, see `harness.judge.expected_times`."""

    @property
    def row(self) -> tuple[str, ...]:
        """The same as :attr:`harness.records.schema.Record.row` of the records it is about."""
        return row_of(self)

    @property
    def outcome(self) -> str:
        """The outcome of the expected output, decided from the expected metrics."""
        return outcome_of(self.metrics)

    @property
    def title(self) -> str:
        """The same as :attr:`harness.records.schema.Record.title`."""
        return title_of(self.model, self.variant, self.lowering, self.shape, self.compression)


class Baseline(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One model's file."""

    model: str
    versions: dict[str, str]
    """Versions of the packages it was made with, for the reader."""
    tolerances: dict[str, Tolerance]
    """Tolerances by metric; they may be edited in the file, and stay as edited."""
    rows: tuple[Expectation, ...]
    baseline_version: int = BASELINE_VERSION


def encode(baseline: Baseline) -> bytes:
    """Return a baseline as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(baseline), indent=1) + b"\n"


def decode(text: bytes, where: str) -> Baseline:
    """Return the baseline a file holds.

    Raises
    ------
    RecordError: naming ``where``, for a file that is not a baseline or has a newer version.
    """
    try:
        version = _version.decode(text).baseline_version
        if version != BASELINE_VERSION:
            raise RecordError(
                f"{where}: baseline version {version}, this harness reads {BASELINE_VERSION}; "
                "upgrade ane-rms, or write it anew with `ane-harness expect --update`"
            )
        return _baseline.decode(text)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise RecordError(f"{where}: not a baseline: {error}") from None


class _Version(msgspec.Struct):
    baseline_version: int


_version = msgspec.json.Decoder(_Version)
_baseline = msgspec.json.Decoder(Baseline)


def read_folder(
    folder: Path,
    odd: Callable[[str], None] | None = None,
    unreadable: Callable[[str, RecordError], None] | None = None,
) -> dict[str, Baseline]:
    """Return the baselines of a folder by model; none if there is no such folder.

    Parameters
    ----------
    folder: where the files are.
    odd: called with a sentence about each file that is left out because its name or kind is not that of a baseline.
    unreadable: called with the model and the error of each file that cannot be read; without it, the first is raised.

    Raises
    ------
    RecordError: naming the file that cannot be read.
    """
    found = {}
    for path in listing.tell(listing.baselines(folder), odd):
        model = unicodedata.normalize("NFC", path.stem)
        try:
            found[model] = read(path)
        except RecordError as error:
            if unreadable is None:
                raise
            unreadable(model, error)
    return found


def read(path: Path) -> Baseline:
    """Return the baseline of one file.

    Raises
    ------
    RecordError: naming the file, if it cannot be read or is not a baseline.
    """
    try:
        return decode(limited_read.read(path, LIMIT_BYTES), str(path))
    except OSError as error:
        raise RecordError(f"{path}: cannot read: {error.strerror}") from None


def write(folder: Path, baseline: Baseline) -> Path:
    """Write one model's baseline atomically: to a temporary file beside it, flushed, then renamed.

    Raises
    ------
    OutputError: if the folder cannot be written.
    RecordError: if the model's key is invalid; the record it comes from may have been written by anyone.
    """
    path = _path(folder, baseline.model)
    atomic.write(path, encode(baseline))
    return path


def remove(folder: Path, model: str) -> None:
    """Remove one model's baseline if it exists.

    Raises
    ------
    OutputError: if it cannot be removed.
    RecordError: as :func:`write`.
    """
    atomic.remove(_path(folder, model))


def _path(folder: Path, model: str) -> Path:
    if not MODEL_KEY.fullmatch(model):
        raise RecordError(f"{model!r}: not a model's key, so no file is named after it")
    return folder / f"{model}.json"
