"""Rates in tokens a second, as llama-bench shows them: ``pp32`` for a prompt of 32 tokens, ``tg`` for generation.

Beside each measured rate stands the rate that the engine model predicts, in columns that say so. A prediction is of the
Neural Engine of a family, whatever executor was measured.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from harness.report.columns import Column
from harness.report.latency_table import tokens_of_a_call
from harness.report.table import DECIDING, DETAIL, Document, Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.records.predictions import Prediction
    from harness.records.schema import Record

NOT_A_DEVICE = "The reference executor computes what a program means; its rates are not those of a device."
PREDICTED = (
    "Predicted rates come from published measurements of the Neural Engine (docs/engine.md), with their published "
    "error; they are not measured."
)


def token_test(record: Record) -> str:
    """Return ``pp32`` for a prompt of 32 tokens, ``tg`` for one token after another; empty without tokens."""
    if record.shape == "decode":
        return "tg"
    return f"pp{record.sequence_length}" if record.sequence_length else ""


def rate(record: Record) -> tuple[float, float] | None:
    """Return mean and standard deviation of the tokens a second over the predicts of the burst, as llama-bench does."""
    times, tokens = record.samples.get("predict", ()), tokens_of_a_call(record)
    if len(times) < 2 or not tokens or min(times) <= 0:
        return None
    rates = [tokens / seconds for seconds in times]
    return statistics.fmean(rates), statistics.stdev(rates)


def _plus_minus(found: tuple[float, float]) -> str:
    return f"{found[0]:,.1f} ± {found[1]:,.1f}"


def columns(
    families: Sequence[str] = (), predictions: Mapping[tuple[str, str], Prediction] | None = None
) -> tuple[Column, ...]:
    """Return the columns; a predicted rate for each family."""
    return (
        Column("model", lambda record: record.model, priority=DECIDING, width=16),
        Column("variant", _variant, priority=DECIDING, width=10),
        Column("executor", lambda record: record.executor, priority=DECIDING),
        Column("units", lambda record: record.compute_units, priority=DETAIL),
        Column("test", token_test, priority=DECIDING),
        Column("t/s", rate, _plus_minus, priority=DECIDING),
        *(_predicted(family, predictions or {}) for family in families),
    )


def _variant(record: Record) -> str:
    return " ".join(filter(None, (record.variant, record.lowering, record.compression)))


def _predicted(family: str, predictions: Mapping[tuple[str, str], Prediction]) -> Column:
    def value(record: Record) -> str | None:
        found, tokens = predictions.get((record.title, family)), tokens_of_a_call(record)
        if found is None or not tokens or record.compute_units not in ("CPU_AND_NE", "ALL"):
            return None
        middle, low, high = (tokens / seconds for seconds in (found.latency_s, found.high_s, found.low_s))
        return f"{middle:,.0f} ({low:,.0f} to {high:,.0f})"

    return Column(f"predicted t/s, {family}", value, priority=DECIDING)


def table(records: Sequence[Record], predictions: Sequence[Prediction]) -> Table[Record]:
    """Return the table of the rows that have a rate."""
    by_title = {(one.subject, one.family): one for one in predictions}
    families = list(dict.fromkeys(one.family for one in predictions))
    return Table(columns(families, by_title), [record for record in records if rate(record)], "rates")


def document(records: Sequence[Record], predictions: Sequence[Prediction]) -> Document:
    """Return the table and the notes on what its figures are."""
    found = table(records, predictions)
    notes = [NOT_A_DEVICE] if any(record.executor == "reference" for record in found.rows) else []
    notes += [PREDICTED] if predictions and found.rows else []
    return Document([found, *([" ".join(notes)] if notes else [])])
