"""A comparison as GitHub Markdown, tab-separated values, or JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from tabulate import tabulate

from harness.errors import UnknownNameError
from harness.records.verdicts import KINDS, Verdict
from harness.system.light_registry import Registry
from harness.system.text import cell, squeezed

HEADERS = ("verdict", "row", "figure", "what")
FOLDED = ("not comparable", "insufficient data", "unchanged")
"""Kinds whose equal lines are folded into one in a table for people."""

Format = Callable[[Sequence[Verdict]], str]

FORMATS: Registry[Format] = Registry("format", UnknownNameError)
"""Every output format by name."""


def summary(verdicts: Sequence[Verdict]) -> str:
    """Return the number of verdicts of each kind, worst first: ``1 regression, 41 unchanged``."""
    counts = Counter(verdict.kind for verdict in verdicts)
    return ", ".join(f"{counts[kind]} {kind}" for kind in KINDS if counts[kind]) or "nothing to compare"


def what(verdict: Verdict) -> str:
    """Return a verdict's sentence without the row it begins with."""
    return verdict.sentence.removeprefix(f"{verdict.title}: ")


@FORMATS.register
def github(verdicts: Sequence[Verdict]) -> str:
    """Return a GitHub Markdown table."""
    rows: dict[Any, list[Verdict]] = {}
    for number, verdict in enumerate(verdicts):
        alike = (verdict.kind, verdict.measure, what(verdict)) if verdict.kind in FOLDED else number
        rows.setdefault(alike, []).append(verdict)
    lines = [[ones[0].kind, cell(_title(ones)), ones[0].measure, cell(what(ones[0]))] for ones in rows.values()]
    return tabulate(lines, headers=HEADERS, tablefmt="github", disable_numparse=True) if lines else ""


def _title(alike: Sequence[Verdict]) -> str:
    more = len(alike) - 1
    return alike[0].title + (f" and {more} more row{'s' * (more != 1)}" if more else "")


@FORMATS.register
def tsv(verdicts: Sequence[Verdict]) -> str:
    """Return tab-separated values with a header line; tabs and line ends in a value are spaces."""
    columns = (
        "kind",
        "title",
        "measure",
        "base",
        "candidate",
        "ratio",
        "low",
        "high",
        "p",
        "samples",
        "site",
        "sentence",
    )
    lines = ["\t".join(columns)]
    for verdict in verdicts:
        low, high = verdict.interval or (None, None)
        values = {**msgspec.structs.asdict(verdict), "low": low, "high": high}
        lines.append("\t".join("" if values[name] is None else squeezed(values[name]) for name in columns))
    return "\n".join(lines)


@FORMATS.register
def json(verdicts: Sequence[Verdict]) -> str:
    """Return the verdicts as a JSON array."""
    return msgspec.json.format(msgspec.json.encode(list(verdicts)), indent=2).decode()
