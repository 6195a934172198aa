"""The engine model's prediction for a program on one family; it is never a record of a run.

Predictions are kept in files of their own beside the tables of runs, which no reader of records reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from harness.records import atomic, listing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

SUFFIX = ".prediction.json"


class Absence(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Ops that leave the engine, or may, for one reason."""

    op_type: str
    reason: str
    count: int
    certain: bool
    """Whether the source says that it leaves; False if it only may."""
    first: str
    """The name of the first such op."""


class Hazard(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Values that would break on the engine."""

    name: str
    """The value's name."""
    op_type: str
    reason: str
    peak: float | None = None
    """Largest magnitude in calibration; None without a calibration."""


class Prediction(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One program on one family."""

    subject: str
    """The program: a model with its variant, or a package."""
    family: str
    basis: str
    """``measured`` or ``derived``: the basis of the family's figures."""
    ops: int
    """Number of ops, without constants and compressed weights."""
    on_engine: int
    may_leave: int
    leave: int
    absences: tuple[Absence, ...]
    islands: int
    """Runs of consecutive ops on the engine."""
    hand_offs: int
    """Number of times that consecutive ops are on different units."""
    weight_bytes: int
    weight_limit_bytes: int
    working_sets: int
    """Ops whose largest operand exceeds the working set."""
    largest_operand_bytes: int
    working_set_bytes: int
    padded: int
    """Ops whose last axis is not a multiple of the granule."""
    hazards: tuple[Hazard, ...]
    latency_s: float
    """Estimated seconds of one call on the engine, dispatches included."""
    low_s: float
    high_s: float
    """The estimate minus and plus the published median error."""
    by_class_s: dict[str, float]
    """Seconds by class of op; ``dispatch`` is the floor of every island."""
    without_estimate: dict[str, int]
    """Ops on the engine that have no estimate, by type."""
    norms: str = ""
    """The counts of the program's norms, as ``explain`` gives them: fused, lowered before, missed."""
    executor: str = "prediction"
    """The executor's name, which records do not accept."""


def write(results: Path, name: str, predictions: Sequence[Prediction]) -> Path:
    """Keep predictions below a results folder; return the file."""
    path = results / "tables" / f"{name}{SUFFIX}"
    atomic.write(path, msgspec.json.format(msgspec.json.encode(list(predictions))))
    return path


def read_all(results: Path, odd: Callable[[str], None]) -> list[Prediction]:
    """Return the predictions kept below a results folder, in the order of their files' names.

    `odd` is called with a sentence about each file that :func:`write` cannot have written.
    """
    found: list[Prediction] = []
    for path in listing.tell(listing.tables(results, SUFFIX), odd):
        try:
            found += msgspec.json.decode(path.read_bytes(), type=list[Prediction])
        except (OSError, msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            odd(f"{path}: not predictions: {error}; ane-harness engine --results makes them")
    return found
