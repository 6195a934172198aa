"""A figure over nights: its points and its change points."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping


class Point(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The figure in one run."""

    run_id: str
    time: str
    value: float | None
    """A count, a metric, or a median in seconds; None if the run has none, or one that is not finite."""
    why: str = ""
    """The reason for a missing value, if known: the row's status and reason, or that the row is absent."""


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A change point: the night from which on the figure is at another level."""

    kind: str
    """``regression``, ``improvement``, or ``suspicious`` for a figure that is neither better nor worse."""
    night: Point
    """The first at the new level."""
    last: Point
    """The last at the level before."""
    before: float | None
    """Median of the level before; None if the figure was missing."""
    after: float | None
    """Median of the new level; None if the figure is missing from this night on."""
    since: str
    """The night as people know it, see :func:`night_names`; its id is that of the point."""
    sentence: str
    """A sentence on the change, naming row, night and figures."""
    between: tuple[str, ...] = ()
    """The other changes between the two nights: ``commit 01234567ab to 89abcdef01``, ``torch 2.12 to 2.13``."""
    commits: tuple[str, ...] = ()
    """The commits between, newest first, each with its subject, if the checkout has them."""


class Series(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One figure of one row on one machine over nights, oldest first."""

    model: str
    title: str
    row: tuple[str, ...]
    measure: str
    unit: str
    """``s`` for seconds, ``1`` for a count, empty for a metric."""
    machine: str
    points: tuple[Point, ...]
    changes: tuple[Change, ...] = ()


def night_names(begun: Mapping[str, str]) -> dict[str, str]:
    """Return the name of each run among others, by its id: its date, or its date and time if runs share the date.

    Parameters
    ----------
    begun: the ISO 8601 time at which each run began, by its id.

    The time has minutes, or seconds where runs began in one minute; runs of the same second keep their ids.
    """
    names: dict[str, str] = {}
    for characters in (len("2026-01-31"), len("2026-01-31T23:59"), len("2026-01-31T23:59:59")):
        left = {run_id: time[:characters] for run_id, time in begun.items() if run_id not in names}
        shared = Counter(left.values())
        names.update({run_id: time.replace("T", " ") for run_id, time in left.items() if shared[time] == 1})
    return {run_id: names.get(run_id, run_id) for run_id in begun}


def seconds(value: float) -> str:
    """Return a time with a suitable unit, such as ``2.1 ms``."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value * 1e6:.3g} us"
