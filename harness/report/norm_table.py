"""The table of a norm's own cost: times in addition to those of the same program without a norm."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.measure.metrics import METRICS
from harness.report.columns import Column, metric_column
from harness.report.latency_table import percentile
from harness.report.table import DECIDING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from harness.records.schema import Record


@dataclass(frozen=True, slots=True)
class Cost:
    """The added time of one lowering, in seconds: median and quartiles of the paired differences."""

    tokens: int
    width: int
    precision: str
    lowering: str
    executor: str
    median_s: float
    low_s: float
    high_s: float


def added(records: Sequence[Record]) -> dict[str, Record]:
    """Return the program without a norm of each pair."""
    return {record.pair: record for record in records if record.pair and record.variant == "off"}


def differences(record: Record, without: dict[str, Record]) -> list[float]:
    """Return the time of a row's predicts less that of the program without a norm beside them, in seconds."""
    base = without.get(record.pair)
    name = "predict_framework" if record.samples.get("predict_framework") else "predict"
    if base is None or base is record or len(base.samples.get(name, ())) != len(record.samples.get(name, ())):
        return []
    return [a - b for a, b in zip(record.samples[name], base.samples[name], strict=True)]


def costs(records: Sequence[Record]) -> Iterator[Cost]:
    """Yield the cost of each row that has one."""
    without = added(records)
    for record in records:
        if found := differences(record, without):
            tokens, width = map(int, record.size.split("x"))
            low, high = percentile(found, 0.25), percentile(found, 0.75)
            yield Cost(
                tokens,
                width,
                record.compute_precision,
                record.lowering,
                record.executor,
                statistics.median(found),
                low,
                high,
            )


def every_column(records: Sequence[Record] = ()) -> tuple[Column, ...]:
    """Return every column that there may be, for --columns; those relative to others compare with these rows."""
    without = added(records)

    def cost(record: Record) -> float | None:
        found = differences(record, without)
        return statistics.median(found) * 1e6 if found else None

    def whole(record: Record) -> float | None:
        found = record.samples.get("predict")
        return statistics.median(found) * 1e6 if found else None

    return (
        Column("tokens x width", lambda record: record.size, priority=DECIDING),
        Column("precision", lambda record: record.compute_precision),
        Column("lowering", lambda record: record.lowering or "(no norm)", priority=DECIDING),
        Column("executor", lambda record: record.executor, priority=DECIDING),
        Column("norm us", cost, ",.1f", priority=DECIDING),
        Column("whole us", whole, ",.1f"),
        Column("samples", lambda record: len(record.samples.get("predict", ())) or None, "d"),
        metric_column(METRICS.default),
        Column("outcome", lambda record: record.outcome),
        Column("norm on", lambda record: record.placement and ", ".join(record.placement.norms)),
        Column("cost on ANE", lambda record: record.placement and record.placement.cost.get("ane", 0.0), ".0%"),
        Column("marks", lambda record: ", ".join(record.marks), width=12),
        Column("status", lambda record: record.status, priority=DECIDING),
    )


def columns(records: Sequence[Record]) -> tuple[Column, ...]:
    """Return the columns that any of these rows has a value for; times are in microseconds."""
    return tuple(column for column in every_column(records) if any(column.text(record) != "-" for record in records))
