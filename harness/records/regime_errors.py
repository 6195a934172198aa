"""The error of one norm by lowering, numeric policy and input regime, as ``ane-harness regimes`` keeps it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from harness.records import atomic, listing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

SUFFIX = ".regimes.json"


class Error(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The error of one lowering under one policy: mean relative by regime; for zeros, the largest magnitude."""

    lowering: str
    policy: str
    by_regime: dict[str, float | None]
    """None if it is not finite, which JSON cannot hold."""
    width: int = 2048
    """Number of elements of a row."""
    predicted_s: float | None = None
    """Under a policy of the Neural Engine, the seconds that the engine model predicts for the norm on that family."""


def write(results: Path, run_id: str, errors: Sequence[Error]) -> None:
    """Write a run's errors beside its table."""
    atomic.write(results / "tables" / f"{run_id}{SUFFIX}", msgspec.json.format(msgspec.json.encode(list(errors))))


def newest(results: Path, odd: Callable[[str], None]) -> tuple[str, list[Error]] | None:
    """Return the id and the errors of the newest run that measured regimes; None if there is none.

    `odd` is called with a sentence about each newer file that is not such a table.
    """
    for path in reversed(listing.tell(listing.tables(results, SUFFIX), odd)):
        try:
            return path.name.removesuffix(SUFFIX), msgspec.json.decode(path.read_bytes(), type=list[Error])
        except (OSError, msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            odd(f"{path}: not a table of regimes: {error}; ane-harness regimes makes one")
    return None
