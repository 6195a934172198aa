"""The regions scaled to fit float16, row by row: factor, weights touched, epsilon and peaks before and after."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tabulate import tabulate

from harness.system.text import cell

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from harness.records.schema import Record, RescaledRecord

HEADERS = (
    "row", "region of", "factor", "values", "weights", "epsilon", "after", "peak", "after", "ceiling", "ops added",
    "remark",
)  # fmt: skip


def render(records: Sequence[Record], form: str = "github") -> str:
    """Return the table, or "" if nothing was scaled or left.

    Parameters
    ----------
    records: of a run.
    form: a table format of ``tabulate``.
    """
    rows = [[cell(text) for text in _row(record, one)] for record in records for one in record.rescaled]
    return tabulate(rows, headers=HEADERS, tablefmt=form, disable_numparse=True) if rows else ""


def _row(record: Record, one: RescaledRecord) -> Iterator[str]:
    yield record.title
    yield one.name
    yield "left" if one.factor == 1 else f"2^{round(math.log2(one.factor))}"
    yield str(len(one.values))
    yield str(len(one.weights))
    for epsilons in (one.epsilon_before, one.epsilon_after):
        yield ", ".join(f"{epsilon:.3g}" for epsilon in epsilons) or "-"
    for peak in (one.peak_before, one.peak_after):
        yield "-" if peak is None else f"{peak:,.0f}"
    yield f"{one.ceiling:,.0f}"
    yield str(len(one.multiplications))
    yield one.reason or "-"
