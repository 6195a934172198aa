"""The columns of a results table. Every output format iterates over :data:`COLUMNS`; a new column is added only here.

A column that has its usual value in every row is left out of tables for people (:func:`shown`), so that rarely used
options take no width in the other tables.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from harness.measure.metrics import METRICS
from harness.records.schema import PREDICTING, Record
from harness.report.table import DECIDING, DETAIL
from harness.report.table import Column as TableColumn

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


Column = TableColumn[Record]
"""A column of a table of records."""


def metric_column(name: str) -> Column:
    """Return the column of a metric, with its registered title and format."""
    found = METRICS[name]
    return Column(found.title, lambda record: record.metrics.get(name), found.spec, priority=DETAIL)


def _metric_columns() -> Iterator[Column]:
    """Yield the column of each metric; that of the first is followed by its mean over prompts."""
    for name, found in METRICS.items():
        if name == METRICS.default:
            yield replace(metric_column(name), priority=DECIDING, short="precision")
            yield _mean_column(name)
        elif found.in_tables:
            yield metric_column(name)


def _mean_column(name: str) -> Column:
    found = METRICS[name]
    title = f"{found.title}, mean of prompts"
    return Column(title, lambda record: record.metrics.get(f"{name}_mean"), found.spec, usual="-", priority=DETAIL)


def _policy(record: Record) -> str:
    """Return the policy, with a note if it predicts a device."""
    return f"{record.policy} (predicted)" if record.policy.startswith(PREDICTING) else record.policy


def _rescale(record: Record) -> str:
    """Return the factors that a record's values were scaled by; ``none`` if a rescale changed nothing."""
    if record.rescale in ("", "off"):
        return ""
    factors = dict.fromkeys(one.factor for one in record.rescaled if one.factor != 1)
    return ", ".join(f"2^{round(math.log2(one))}" for one in factors) or "none"


def _norms(record: Record) -> str:
    """Return the numbers of fused and expected norms: ``13/13``."""
    counts = (record.fused, record.norms_expected)
    return "" if counts == (None, None) else "/".join("-" if count is None else str(count) for count in counts)


COLUMNS = (
    Column("model", lambda record: record.model, priority=DECIDING, width=24),
    Column("variant", lambda record: record.variant, priority=DECIDING),
    Column("lowering", lambda record: record.lowering),
    Column("checkpoint", lambda record: record.checkpoint, usual="-"),
    Column("shape", lambda record: record.shape, usual="prefill"),
    Column("compression", lambda record: record.compression, usual="-"),
    Column("rescale", _rescale, usual="-"),
    Column("executor", lambda record: record.executor),
    Column("policy", _policy),
    Column("norms", _norms, priority=DECIDING, on_terminal_only=True),
    Column("expected", lambda record: record.norms_expected, "d", priority=DETAIL),
    Column("fused", lambda record: record.fused, "d", priority=DETAIL),
    Column("missed", lambda record: record.missed, "d", priority=DETAIL),
    Column("ops before", lambda record: record.ops_before, "d", priority=DETAIL),
    Column("ops after", lambda record: record.ops_after, "d", priority=DETAIL),
    Column("norm ops", lambda record: record.norm_ops, "d", priority=DETAIL),
    Column("norm bytes", lambda record: record.norm_bytes, ",d", priority=DETAIL),
    *_metric_columns(),
    Column("seconds", lambda record: sum(record.seconds.values()) or None, ".1f"),
    Column("outcome", lambda record: record.outcome, priority=DECIDING),
    Column("status", lambda record: record.status, priority=DECIDING),
)


def shown(records: Sequence[Record], columns: Sequence[Column]) -> tuple[Column, ...]:
    """Return the columns that carry information about these records."""
    return tuple(
        column
        for column in columns
        if column.usual is None or any(column.text(record) != column.usual for record in records)
    )
