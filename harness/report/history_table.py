"""The table of the changes of series over nights."""

from __future__ import annotations

import shlex
from statistics import median
from textwrap import indent
from typing import TYPE_CHECKING, Any

from harness.judge.figures import text
from harness.report import formats
from harness.report.table import DECIDING, DETAIL, Document, Table, head, places

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from harness.records.series import Series

COLUMNS = places(
    head("row", priority=DECIDING, width=14),
    head("figure", priority=DECIDING),
    head("nights", "d", priority=DETAIL),
    head("since", priority=DECIDING, width=10),
    head("before", priority=DECIDING),
    head("now", priority=DECIDING),
    head("verdict", priority=DECIDING, width=10),
    head("between", width=20),
)


def lines(series: Sequence[Series], *, everything: bool) -> list[list[Any]]:
    """Return a line for each change, the latest first, followed if asked by one for each series without a change."""
    found = [(change.night.time, one, change) for one in series for change in one.changes]
    rows = [
        [
            one.title,
            one.measure,
            len(one.points),
            change.since,
            text(one.measure, change.before),
            text(one.measure, change.after),
            change.kind,
            "; ".join(change.between) or "-",
        ]
        for _, one, change in sorted(found, key=lambda item: item[0], reverse=True)
    ]
    return rows + [_flat(one) for one in series if everything and not one.changes]


def _flat(one: Series) -> list[Any]:
    values = [point.value for point in one.points if point.value is not None]
    return [one.title, one.measure, len(one.points), "-", "-", text(one.measure, median(values)), "unchanged", "-"]


def ended(series: Sequence[Series]) -> list[str]:
    """Return a sentence for each row whose figures are missing in its last night, naming them and since when."""
    found: dict[tuple[str, str, str, str], list[str]] = {}
    for one in series:
        if one.changes and one.changes[-1].after is None:
            last = one.changes[-1]
            found.setdefault((one.title, one.machine, last.since, last.night.why), []).append(one.measure)
    return [
        f"{title}: {', '.join(measures)} missing since {since}{f' ({why})' if why else ''}."
        for (title, _, since, why), measures in found.items()
    ]


def comparisons(series: Sequence[Series], results: Path | None = None) -> list[str]:
    """Return the command that compares the runs before and after, for each two nights between which a figure changed.

    Parameters
    ----------
    series: with their changes.
    results: the folder that the runs are in, if the command has to name it; it then is on a second line.

    The latest nights come first, as in the table.
    """
    changes = sorted((change for one in series for change in one.changes), key=lambda one: one.night.time, reverse=True)
    runs = dict.fromkeys((change.last.run_id, change.night.run_id) for change in changes)
    folder = f" \\\n  --results {shlex.quote(str(results))}" if results is not None else ""
    return [f"ane-harness compare {shlex.quote(last)} {shlex.quote(night)}{folder}" for last, night in runs]


def document(series: Sequence[Series], *, everything: bool = False, results: Path | None = None) -> Document:
    """Return the table of changes and, below it, the commands of :func:`comparisons`.

    JSON holds the series with their points: those with a change, or all.
    """
    shown = [one for one in series if everything or one.changes]
    commands = indent("\n".join(comparisons(series, results)), "    ")  # which Markdown shows as code
    below = ["The runs before and after a change:\n\n" + commands] if commands else []
    return Document([Table(COLUMNS, lines(series, everything=everything)), *below], data=shown)


def github(series: Sequence[Series], *, everything: bool = False) -> str:
    """Return the table as GitHub Markdown."""
    return formats.github(Document([Table(COLUMNS, lines(series, everything=everything))]))
