"""Predictions of the engine model as text: a summary for each program and family, with ops, hazards and time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from tabulate import tabulate

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from harness.records.predictions import Prediction

NOTE = (
    "Predicted from published measurements (arXiv 2606.22283; ANEForge), not measured, and not by Core ML's own plan: "
    "docs/engine.md. Times carry the published cost model's median error, 31 % over 68 graphs; bandwidth-bound shapes "
    "are over-predicted, and attention has no estimate."
)

HEADERS = [
    "program",
    "family",
    "basis",
    "ops",
    "on engine",
    "may leave",
    "leave",
    "islands",
    "hand-offs",
    "weights MB",
    "streaming ops",
    "padded ops",
    "hazards",
    "estimate ms",
    "from",
    "to",
]


def render(predictions: Sequence[Prediction], form: str = "github", hazards: int = 12) -> str:
    """Return predictions as GitHub Markdown, tab-separated values or JSON.

    Parameters
    ----------
    predictions: those to show.
    form: ``github``, ``tsv`` or ``json``.
    hazards: how many hazards of a program are listed before the rest is counted.
    """
    if form == "json":
        return msgspec.json.format(msgspec.json.encode(list(predictions)), indent=2).decode()
    rows = [summary(one) for one in predictions]
    if form == "tsv":
        return "\n".join("\t".join(row) for row in [HEADERS, *rows])
    return "\n\n".join([_table(rows, HEADERS), *_details(predictions, hazards), NOTE])


def summary(one: Prediction) -> list[str]:
    """Return a prediction's row of the summary."""
    over = " (above the limit)" if one.weight_bytes > one.weight_limit_bytes else ""
    return [
        one.subject,
        one.family,
        one.basis,
        *map(str, (one.ops, one.on_engine, one.may_leave, one.leave, one.islands, one.hand_offs)),
        f"{one.weight_bytes / 1e6:.1f}{over}",
        f"{one.working_sets}",
        f"{one.padded}",
        f"{len(one.hazards)}",
        *(f"{value * 1e3:.3g}" for value in (one.latency_s, one.low_s, one.high_s)),
    ]


def _details(predictions: Sequence[Prediction], most: int) -> Iterator[str]:
    for one in predictions:
        title = f"{one.subject} on {one.family}"
        if one.absences:
            rows = [
                [absence.op_type, str(absence.count), "leaves" if absence.certain else "may leave", absence.reason]
                for absence in one.absences
            ]
            yield f"{title}: ops that leave the engine\n\n" + _table(rows, ["op", "count", "", "reason"])
        if one.hazards:
            rows = [[hazard.name, hazard.op_type, hazard.reason] for hazard in one.hazards[:most]]
            more = f"\n\nand {len(one.hazards) - most} more" if len(one.hazards) > most else ""
            yield f"{title}: values that would break\n\n" + _table(rows, ["value", "op", "reason"]) + more
        rows = [[name, f"{seconds * 1e3:.3g}"] for name, seconds in one.by_class_s.items() if seconds]
        missing = [[f"{name} ({count})", "no estimate"] for name, count in one.without_estimate.items()]
        if rows or missing:
            yield f"{title}: estimated time by class\n\n" + _table(rows + missing, ["class", "ms"])


def _table(rows: list[list[str]], headers: list[str]) -> str:
    return tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True)
