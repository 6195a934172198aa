"""Predictions of the engine model: a summary for each program and family, with ops, hazards and time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.report.table import DECIDING, DETAIL, Document, Table, head, places

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
DECIDE = ("program", "family", "ops", "on engine", "leave", "hazards", "estimate ms")
"""The columns that are always shown on a terminal."""
COLUMNS = places(
    *(
        head(name, priority=DECIDING if name in DECIDE else DETAIL, width=12 if name == "program" else 0)
        for name in HEADERS
    )
)
ABSENCES = places(
    head("op", priority=DECIDING, width=10),
    head("count", "d", priority=DECIDING),
    head("how", priority=DECIDING),
    head("reason", priority=DECIDING, width=24),
)
HAZARDS = places(
    head("value", priority=DECIDING, width=12),
    head("op", priority=DECIDING, width=10),
    head("reason", priority=DECIDING, width=24),
)
TIMES = places(head("class", priority=DECIDING), head("ms", priority=DECIDING))


def document(predictions: Sequence[Prediction], hazards: int = 12) -> Document:
    """Return the summary, the details of each program, and the note on their source; JSON holds the predictions.

    Parameters
    ----------
    predictions: those to show.
    hazards: how many hazards of a program are listed before the rest is counted.
    """
    rows = [summary(one) for one in predictions]
    norms = dict.fromkeys(f"Norms of {one.subject}: {one.norms}" for one in predictions if one.norms)
    return Document([Table(COLUMNS, rows), *norms, *_details(predictions, hazards), NOTE], data=list(predictions))


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


def _details(predictions: Sequence[Prediction], most: int) -> Iterator[Table[Any] | str]:
    for one in predictions:
        title = f"{one.subject} on {one.family}"
        if one.absences:
            absences = [
                (absence.op_type, absence.count, "leaves" if absence.certain else "may leave", absence.reason)
                for absence in one.absences
            ]
            yield Table(ABSENCES, absences, title=f"{title}: ops that leave the engine")
        if one.hazards:
            found = [(hazard.name, hazard.op_type, hazard.reason) for hazard in one.hazards[:most]]
            yield Table(HAZARDS, found, title=f"{title}: values that would break")
            if len(one.hazards) > most:
                yield f"and {len(one.hazards) - most} more"
        times = [(name, f"{seconds * 1e3:.3g}") for name, seconds in one.by_class_s.items() if seconds]
        times += [(f"{name} ({count})", "no estimate") for name, count in one.without_estimate.items()]
        if times:
            yield Table(TIMES, times, title=f"{title}: estimated time by class")
