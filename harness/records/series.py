"""A figure over nights: its points and its change points."""

from __future__ import annotations

import msgspec


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


def seconds(value: float) -> str:
    """Return a time with a suitable unit, such as ``2.1 ms``."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value * 1e6:.3g} us"
