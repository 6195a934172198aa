"""The error of one norm by lowering, numeric policy and input regime, as ``harness run --regimes`` keeps it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from harness.errors import RecordError
from harness.records import atomic

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SUFFIX = ".regimes.json"


class Error(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The error of one lowering under one policy: mean relative by regime; for zeros, the largest magnitude."""

    lowering: str
    policy: str
    by_regime: dict[str, float | None]
    """None where it is not finite, for which JSON has no word."""


def write(results: Path, run_id: str, errors: Sequence[Error]) -> None:
    """Write a run's errors beside its table."""
    atomic.write(results / "tables" / f"{run_id}{SUFFIX}", msgspec.json.format(msgspec.json.encode(list(errors))))


def newest(results: Path) -> tuple[str, list[Error]] | None:
    """Return the id and the errors of the newest run that measured regimes; None if there is none.

    Raises
    ------
    RecordError: naming the file, if it is not what :func:`write` writes.
    """
    paths = sorted((results / "tables").glob(f"*{SUFFIX}"))
    if not paths:
        return None
    try:
        return paths[-1].name.removesuffix(SUFFIX), msgspec.json.decode(paths[-1].read_bytes(), type=list[Error])
    except (OSError, msgspec.MsgspecError) as error:
        raise RecordError(
            f"{paths[-1]}: not a table of regimes: {error}; ane-harness run --regimes makes one"
        ) from None
