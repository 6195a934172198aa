"""The run at a glance, a line for each variant: norms, outcomes, precision, statuses."""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.measure.metrics import METRICS
from harness.records.outcomes import OUTCOMES
from harness.system.text import plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.records.schema import Record

MOST_LINES = 12
"""Number of variants that are listed; the table of rows has all."""


@dataclass(frozen=True, slots=True)
class Line:
    """One variant with its lowering and compression."""

    title: str
    rows: str
    norms: str
    outcomes: str
    precision: str
    """The median error of the rows that have one; ``not finite``, or a dash."""
    worst: str
    """The worst error, if there are several."""
    worst_model: str
    statuses: str
    tone: str
    """``worse`` if a row is not ok, else empty."""


@dataclass(frozen=True, slots=True)
class Overview:
    """The lines of a run, under its name if two runs are shown side by side."""

    name: str
    lines: Sequence[Line]
    left: int = 0
    """Number of variants that are not listed."""


def overview(records: Sequence[Record], name: str = "") -> Overview:
    """Return the lines of a run's records, in the order in which the variants first occur."""
    groups: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        groups[" ".join(filter(None, (record.variant, record.lowering, record.compression)))].append(record)
    lines = [_line(title, members) for title, members in groups.items()]
    return Overview(name, lines[:MOST_LINES], max(0, len(lines) - MOST_LINES))


def _line(title: str, records: Sequence[Record]) -> Line:
    statuses = Counter(record.status for record in records)
    fused, expected = (
        sum(count for count in counts if count is not None)
        for counts in ([one.fused for one in records], [one.norms_expected for one in records])
    )
    outcomes = Counter(record.outcome for record in records if record.outcome)
    order = {name: place for place, name in enumerate(OUTCOMES)}
    return Line(
        title,
        plural(len(records), "row"),
        f"{fused:,}/{expected:,}",
        _listed(outcomes, sorted(outcomes, key=lambda name: order.get(name, len(order)))),
        *_precision(records),
        _listed(statuses, sorted(statuses, key=lambda name: (name == "ok", name))),
        "worse" if set(statuses) - {"ok", "skipped"} else "",
    )


def _precision(records: Sequence[Record]) -> tuple[str, str, str]:
    """Return the median and the worst error of the default metric, and the model of the worst."""
    name = METRICS.default
    spec = METRICS[name]
    found = [(value, record.model) for record in records if (value := record.metrics.get(name)) is not None]
    finite = [(value, model) for value, model in found if math.isfinite(value)]
    if not finite:
        return "not finite" if any(name in record.metrics for record in records) else "-", "", ""
    worst, model = max(finite, key=lambda one: spec.distance(one[0]))
    if len(finite) == 1:
        return spec.figure(worst), "", ""
    return spec.figure(statistics.median(value for value, _ in finite)), spec.figure(worst), model


def _listed(counts: Counter[str], names: Sequence[str]) -> str:
    return ", ".join(f"{counts[name]:,} {name}" for name in names) or "-"
