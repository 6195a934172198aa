"""The columns of a results table. Every output format iterates over :data:`COLUMNS`; a new one is added here alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.report.text import cell

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.store.schema import Record


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its header, how to read its value from a record, how to show it (a format specification)."""

    header: str
    value: Callable[[Record], Any]
    spec: str = ""

    def text(self, record: Record) -> str:
        """Return the value as shown; a value that is not there is a dash."""
        value = self.value(record)
        return "-" if value is None or value == "" else cell(format(value, self.spec))


def _metric(name: str) -> Callable[[Record], float | None]:
    return lambda record: record.metrics.get(name)


COLUMNS = (
    Column("model", lambda record: record.model),
    Column("variant", lambda record: record.variant),
    Column("lowering", lambda record: record.lowering),
    Column("executor", lambda record: record.executor),
    Column("policy", lambda record: record.policy),
    Column("expected", lambda record: record.norms_expected, "d"),
    Column("fused", lambda record: record.fused, "d"),
    Column("missed", lambda record: record.missed, "d"),
    Column("ops before", lambda record: record.ops_before, "d"),
    Column("ops after", lambda record: record.ops_after, "d"),
    Column("norm ops", lambda record: record.norm_ops, "d"),
    Column("norm bytes", lambda record: record.norm_bytes, ",d"),
    Column("rel L2", _metric("rel_l2"), ".2e"),
    Column("cosine", _metric("cosine"), ".6f"),
    Column("max abs", _metric("max_abs"), ".2e"),
    Column("mean rel", _metric("mean_rel"), ".2e"),
    Column("KL", _metric("kl"), ".1e"),
    Column("top-1", _metric("top1"), ".3f"),
    Column("seconds", lambda record: sum(record.seconds.values()) or None, ".1f"),
    Column("status", lambda record: record.status),
)
