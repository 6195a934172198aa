"""Tables of latency rows: their columns, and each row against the first row measured alternately with it."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from harness.measure.metrics import METRICS
from harness.report.columns import Column, metric_column
from harness.report.table import DECIDING, DETAIL

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.records.schema import Record


def percentile(values: Sequence[float], share: float) -> float:
    """Return the quantile at a share of the values, interpolated linearly, as numpy's default does."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def _at(name: str, share: float) -> Callable[[Record], float | None]:
    """Return milliseconds at a share of a row's samples."""
    return lambda record: percentile(values, share) * 1e3 if (values := record.samples.get(name)) else None


def _range(record: Record) -> float | None:
    values = record.samples.get("predict")
    return (percentile(values, 0.75) - percentile(values, 0.25)) * 1e3 if values else None


def tokens_per_second(record: Record) -> float | None:
    """Return tokens per second at the median predict: all tokens of a prefill, or the one that is decoded."""
    values = record.samples.get("predict")
    if not values or (middle := statistics.median(values)) <= 0:
        return None
    return tokens_of_a_call(record) / middle if tokens_of_a_call(record) else None


def tokens_of_a_call(record: Record) -> int:
    """Return the tokens of one predict: all of a prefill's, or the one that is decoded; 0 if it takes none."""
    return 1 if record.shape == "decode" else record.sequence_length


def slowdown(record: Record) -> float | None:
    """Return the median of the last quarter of the sustained stretch over that of the burst."""
    burst, sustained = record.samples.get("predict"), record.samples.get("sustained")
    if not burst or not sustained or (middle := statistics.median(burst)) <= 0:
        return None
    return statistics.median(sustained[-max(len(sustained) // 4, 1) :]) / middle


def _against_first(records: Sequence[Record]) -> Callable[[Record], str | None]:
    """Return a row's time relative to the first row of its pair, with the interval: ``0.91 (0.90 to 0.93)``."""
    from harness.judge.stats import FEWEST, Samples, effects

    first: dict[str, Record] = {}
    for record in records:
        if record.pair and record.samples.get("predict"):
            first.setdefault(record.pair, record)

    def ratio(record: Record) -> str | None:
        base = first.get(record.pair)
        times = record.samples.get("predict", ())
        if base is None or base is record:
            return None
        others = base.samples["predict"]
        if len(times) != len(others) or len(times) < FEWEST or min(*times, *others) <= 0:
            return None
        (effect,) = effects([Samples(others, times, paired=True)])
        return f"{effect.ratio:.3f} ({effect.low:.3f} to {effect.high:.3f})"

    return ratio


def every_column(records: Sequence[Record] = ()) -> tuple[Column, ...]:
    """Return every column that there may be, for --columns; those relative to others compare with these rows."""
    return (
        Column("model", lambda record: record.model, priority=DECIDING, width=16),
        Column("shape", lambda record: "" if record.shape == "prefill" else record.shape),
        Column("variant", lambda record: record.variant, priority=DECIDING),
        Column("lowering", lambda record: record.lowering),
        Column("compression", lambda record: record.compression),
        Column("units", lambda record: record.compute_units, priority=DETAIL),
        Column("precision", lambda record: record.compute_precision, priority=DETAIL),
        Column("executor", lambda record: record.executor, priority=DECIDING),
        Column("p50 ms", _at("predict", 0.5), ".3f", priority=DECIDING),
        Column("against first", _against_first(records)),
        Column("p90", _at("predict", 0.9), ".3f", priority=DETAIL),
        Column("p99", _at("predict", 0.99), ".3f", priority=DETAIL),
        Column("min", _at("predict", 0.0), ".3f", priority=DETAIL),
        Column("IQR", _range, ".3f", priority=DETAIL),
        Column("samples", lambda record: len(record.samples.get("predict", ())) or None, "d", priority=DETAIL),
        Column("framework p50", _at("predict_framework", 0.5), ".3f", priority=DETAIL),
        Column("tokens/s", tokens_per_second, ",.0f", priority=DECIDING),
        Column("first predict", _at("first_predict", 0.5), ".1f", priority=DETAIL),
        Column("cold compile", _at("cold_compile", 0.5), ".1f", priority=DETAIL),
        Column("cold load", _at("cold_load", 0.5), ".1f", priority=DETAIL),
        Column("warm load", _at("warm_load", 0.5), ".1f", priority=DETAIL),
        Column("load", _at("load", 0.5), ".1f"),
        Column("sustained / burst", slowdown, ".3f"),
        metric_column(METRICS.default),
        Column("outcome", lambda record: record.outcome),
        Column("cost on ANE", lambda record: record.placement and record.placement.cost.get("ane", 0.0), ".0%"),
        Column("hand-offs", lambda record: record.placement and record.placement.hand_offs, "d"),
        Column("marks", lambda record: ", ".join(record.marks), width=12),
        Column("status", lambda record: record.status, priority=DECIDING),
    )


def columns(records: Sequence[Record]) -> tuple[Column, ...]:
    """Return the columns that any of these rows has a value for; times are in milliseconds."""
    return tuple(column for column in every_column(records) if any(column.text(record) != "-" for record in records))
