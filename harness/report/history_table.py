"""Series over nights as GitHub Markdown, tab-separated values, or JSON."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Protocol

import msgspec
from tabulate import tabulate

from harness.errors import UnknownNameError
from harness.judge.figures import text
from harness.system.light_registry import Registry
from harness.system.text import cell, squeezed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.records.series import Series

HEADERS = ("row", "figure", "nights", "since", "before", "now", "verdict", "between")


class Format(Protocol):
    """Render series: those with a change, or all."""

    def __call__(self, series: Sequence[Series], *, everything: bool = ...) -> str:
        """Return the table."""


FORMATS: Registry[Format] = Registry("format", UnknownNameError)
"""Every output format by name."""


def lines(series: Sequence[Series], *, everything: bool) -> list[list[str]]:
    """Return a line for each change, the latest first, followed if asked by one for each series without a change."""
    found = [(change.night.time, one, change) for one in series for change in one.changes]
    rows = [
        [
            one.title,
            one.measure,
            str(len(one.points)),
            change.night.run_id,
            text(one.measure, change.before),
            text(one.measure, change.after),
            change.kind,
            "; ".join(change.between) or "-",
        ]
        for _, one, change in sorted(found, key=lambda item: item[0], reverse=True)
    ]
    return rows + [_flat(one) for one in series if everything and not one.changes]


def _flat(one: Series) -> list[str]:
    values = [point.value for point in one.points if point.value is not None]
    return [one.title, one.measure, str(len(one.points)), "-", "-", text(one.measure, median(values)), "unchanged", "-"]


def ended(series: Sequence[Series]) -> list[str]:
    """Return a sentence for each row whose figures are missing in its last night, naming them and since when."""
    found: dict[tuple[str, str, str, str], list[str]] = {}
    for one in series:
        if one.changes and one.changes[-1].after is None:
            night = one.changes[-1].night
            found.setdefault((one.title, one.machine, night.run_id, night.why), []).append(one.measure)
    return [
        f"{title}: {', '.join(measures)} missing since {run_id}{f' ({why})' if why else ''}."
        for (title, _, run_id, why), measures in found.items()
    ]


@FORMATS.register
def github(series: Sequence[Series], *, everything: bool = False) -> str:
    """Return a GitHub Markdown table."""
    rows = [[cell(value) for value in row] for row in lines(series, everything=everything)]
    return tabulate(rows, headers=HEADERS, tablefmt="github", disable_numparse=True) if rows else ""


@FORMATS.register
def tsv(series: Sequence[Series], *, everything: bool = False) -> str:
    """Return tab-separated values with a header line."""
    rows = [list(HEADERS), *lines(series, everything=everything)]
    return "\n".join("\t".join(squeezed(value) for value in row) for row in rows)


@FORMATS.register
def json(series: Sequence[Series], *, everything: bool = False) -> str:
    """Return the series with their points as a JSON array: those with a change, or all."""
    shown = [one for one in series if everything or one.changes]
    return msgspec.json.format(msgspec.json.encode(shown), indent=2).decode()
