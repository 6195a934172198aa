"""The table of a comparison."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.records.verdicts import KINDS, Verdict
from harness.report import formats
from harness.report.table import DECIDING, Column, Document, Table
from harness.system.text import plural

if TYPE_CHECKING:
    from collections.abc import Sequence

FOLDED = ("not comparable", "insufficient data", "unchanged")
"""Kinds whose equal lines are folded into one in a table for people."""


def summary(verdicts: Sequence[Verdict]) -> str:
    """Return the number of verdicts of each kind, worst first: ``1 regression, 41 unchanged``."""
    counts = Counter(verdict.kind for verdict in verdicts)
    return ", ".join(f"{counts[kind]} {kind}" for kind in KINDS if counts[kind]) or "nothing to compare"


def what(verdict: Verdict) -> str:
    """Return a verdict's sentence without the row it begins with."""
    return verdict.sentence.removeprefix(f"{verdict.title}: ")


@dataclass(frozen=True, slots=True)
class Folded:
    """Verdicts that say the same of several rows."""

    alike: Sequence[Verdict]

    @property
    def title(self) -> str:
        """The first row, and the number of the others."""
        more = len(self.alike) - 1
        return self.alike[0].title + (f" and {plural(more, 'more row')}" if more else "")


COLUMNS = (
    Column[Folded]("verdict", lambda one: one.alike[0].kind, priority=DECIDING, width=10),
    Column[Folded]("row", lambda one: one.title, priority=DECIDING, width=14),
    Column[Folded]("figure", lambda one: one.alike[0].measure, priority=DECIDING),
    Column[Folded]("what", lambda one: what(one.alike[0]), priority=DECIDING, width=24),
)
"""The columns for people."""


def _flat(name: str) -> Column[Verdict]:
    """Return a column for programs."""
    if name in ("low", "high"):
        return Column(name, lambda one: one.interval and one.interval[name == "high"], str, absent="")
    return Column(name, lambda one: getattr(one, name), str, absent="")


FLAT = tuple(
    map(
        _flat,
        ("kind", "title", "measure", "base", "candidate", "ratio", "low", "high", "p", "samples", "site", "sentence"),
    )
)


def document(verdicts: Sequence[Verdict]) -> Document:
    """Return the table of verdicts, in which rows of the same sentence share a line; JSON holds every verdict."""
    rows: dict[Any, list[Verdict]] = {}
    for number, verdict in enumerate(verdicts):
        alike = (verdict.kind, verdict.measure, what(verdict)) if verdict.kind in FOLDED else number
        rows.setdefault(alike, []).append(verdict)
    return Document([Table(COLUMNS, list(map(Folded, rows.values())))], Table(FLAT, verdicts), list(verdicts))


def github(verdicts: Sequence[Verdict]) -> str:
    """Return the table as GitHub Markdown."""
    return formats.github(document(verdicts))
