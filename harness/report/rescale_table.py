"""The regions scaled to fit float16, row by row: factor, weights touched, epsilon and peaks before and after."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.report.table import DECIDING, DETAIL, Column, Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.records.schema import Record, RescaledRecord


@dataclass(frozen=True, slots=True)
class Region:
    """A region of a record's program."""

    record: Record
    scaled: RescaledRecord


def _factor(region: Region) -> str:
    return "left" if region.scaled.factor == 1 else f"2^{round(math.log2(region.scaled.factor))}"


def _epsilons(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.3g}" for value in values)


COLUMNS = (
    Column[Region]("row", lambda one: one.record.title, priority=DECIDING, width=12),
    Column[Region]("region of", lambda one: one.scaled.name, priority=DECIDING, width=12),
    Column[Region]("factor", _factor, priority=DECIDING),
    Column[Region]("values", lambda one: len(one.scaled.values), priority=DETAIL),
    Column[Region]("weights", lambda one: len(one.scaled.weights), priority=DETAIL),
    Column[Region]("epsilon", lambda one: _epsilons(one.scaled.epsilon_before), priority=DETAIL),
    Column[Region]("epsilon after", lambda one: _epsilons(one.scaled.epsilon_after), priority=DETAIL),
    Column[Region]("peak", lambda one: one.scaled.peak_before, ",.0f", priority=DECIDING),
    Column[Region]("peak after", lambda one: one.scaled.peak_after, ",.0f", priority=DECIDING),
    Column[Region]("ceiling", lambda one: one.scaled.ceiling, ",.0f"),
    Column[Region]("ops added", lambda one: len(one.scaled.multiplications), priority=DETAIL),
    Column[Region]("remark", lambda one: one.scaled.reason, priority=DECIDING, width=20),
)


def table(records: Sequence[Record]) -> Table[Region]:
    """Return the table of a run's records; it has no row if nothing was scaled or left."""
    return Table(COLUMNS, [Region(record, one) for record in records for one in record.rescaled], "rescaled")
