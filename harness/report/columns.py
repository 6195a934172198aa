"""The columns of a results table. Every output format iterates over :data:`COLUMNS`; a new column is added only here.

A column that has its usual value in every row is left out of tables for people (:func:`shown`), so that rarely used
options take no width in the other tables.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.measure.metrics import METRICS
from harness.records.schema import PREDICTING
from harness.system.text import cell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from harness.records.schema import Record


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its header, how to read its value from a record, how to show it (a format specification)."""

    header: str
    value: Callable[[Record], Any]
    spec: str = ""
    usual: str | None = None
    """The value, as text, for which a column is left out if all records have it."""

    def text(self, record: Record) -> str:
        """Return the value as shown in a table's cell; a value that is not there is a dash."""
        return cell(self.shown(self.value(record)))

    def shown(self, value: Any) -> str:
        """Return a value of this column as it is shown."""
        return "-" if value is None or value == "" else format(value, self.spec)


def metric_column(name: str) -> Column:
    """Return the column of a metric, with its registered title and format."""
    found = METRICS[name]
    return Column(found.title, lambda record: record.metrics.get(name), found.spec)


def _metric_columns() -> Iterator[Column]:
    """Yield the column of each metric; that of the first is followed by its mean over prompts."""
    for name, found in METRICS.items():
        if found.in_tables:
            yield metric_column(name)
        if name == METRICS.default:
            yield _mean_column(name)


def _mean_column(name: str) -> Column:
    found = METRICS[name]
    title = f"{found.title}, mean of prompts"
    return Column(title, lambda record: record.metrics.get(f"{name}_mean"), found.spec, usual="-")


def _policy(record: Record) -> str:
    """Return the policy, with a note if it predicts a device."""
    return f"{record.policy} (predicted)" if record.policy.startswith(PREDICTING) else record.policy


def _rescale(record: Record) -> str:
    """Return the factors that a record's values were scaled by; ``none`` if a rescale changed nothing."""
    if record.rescale in ("", "off"):
        return ""
    factors = dict.fromkeys(one.factor for one in record.rescaled if one.factor != 1)
    return ", ".join(f"2^{round(math.log2(one))}" for one in factors) or "none"


COLUMNS = (
    Column("model", lambda record: record.model),
    Column("variant", lambda record: record.variant),
    Column("lowering", lambda record: record.lowering),
    Column("checkpoint", lambda record: record.checkpoint, usual="-"),
    Column("shape", lambda record: record.shape, usual="prefill"),
    Column("compression", lambda record: record.compression, usual="-"),
    Column("rescale", _rescale, usual="-"),
    Column("executor", lambda record: record.executor),
    Column("policy", _policy),
    Column("expected", lambda record: record.norms_expected, "d"),
    Column("fused", lambda record: record.fused, "d"),
    Column("missed", lambda record: record.missed, "d"),
    Column("ops before", lambda record: record.ops_before, "d"),
    Column("ops after", lambda record: record.ops_after, "d"),
    Column("norm ops", lambda record: record.norm_ops, "d"),
    Column("norm bytes", lambda record: record.norm_bytes, ",d"),
    *_metric_columns(),
    Column("seconds", lambda record: sum(record.seconds.values()) or None, ".1f"),
    Column("outcome", lambda record: record.outcome),
    Column("status", lambda record: record.status),
)


def shown(records: Sequence[Record], columns: Sequence[Column]) -> tuple[Column, ...]:
    """Return the columns that carry information about these records."""
    return tuple(
        column
        for column in columns
        if column.usual is None or any(column.text(record) != column.usual for record in records)
    )
