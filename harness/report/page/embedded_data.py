"""The data of a report's records in its page: the table's columns, and the details from which its sections are drawn.

Ten thousand records must open quickly, so repeated values are written once: a column of text is a list of distinct
texts and a code for each row; sites and environments are lists that rows point into.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec

from harness.records.schema import ROW, SiteRecord
from harness.report import latency_table
from harness.report.columns import COLUMNS, shown

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from harness.records.schema import Record
    from harness.report.columns import Column

DETAILS = (
    *ROW,
    "time",
    "status",
    "reason",
    "fused",
    "missed",
    "norms_expected",
    "norms_executed",
    "seed",
    "sequence_length",
    "definition",
    "warnings",
    "metrics",
    "seconds",
    "peak_memory_bytes",
    "cached",
    "samples",
    "pair",
    "condition",
    "condition_after",
    "placement",
    "marks",
    "log",
    "worker",
    "text",
    "rescaled",
)
"""Fields of a record that a model's section shows, beside sites and environment, which are interned."""


def embedded(value: object) -> str:
    """Return ``value`` as JSON that can stand in a ``<script>`` element: nothing in it can end the element."""
    text = msgspec.json.encode(value).decode()
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def table(records: Sequence[Record], before: Sequence[Record] = ()) -> list[dict[str, Any]]:
    """Return the columns of the zoo's table: those of every run's table, and of latencies where there are any.

    Parameters
    ----------
    records: the rows.
    before: records of another run, to be shown beside them: a cell holds both values where they differ.
    """
    own = shown(records, COLUMNS)
    headers = {column.header for column in COLUMNS}
    timed = latency_table.columns(records) if any(record.samples for record in records) else ()
    others = {record.row: record for record in before}
    earlier = [others.get(record.row) for record in records] if before else []
    return [_column(one, records, earlier) for one in (*own, *(one for one in timed if one.header not in headers))]


def details(records: Sequence[Record], before: Sequence[Record] = ()) -> dict[str, Any]:
    """Return the data of the models' sections: ``records``, the ``sites`` and ``environments`` they share.

    The records of another run, if there are any, follow those of this one; the field ``run`` tells them apart.
    """
    sites, environments = _Interned(), _Interned()
    rows = []
    for number, record in enumerate((*records, *before)):
        row = {name: value for name in DETAILS if _says(value := getattr(record, name))}
        row["sites"] = sites.index(record.sites, [msgspec.structs.astuple(site) for site in record.sites])
        key = msgspec.json.encode(record.environment)
        row["environment"] = environments.index(key, record.environment)
        if before:
            row["run"] = "now" if number < len(records) else "before"
        rows.append(row)
    return {
        "row_fields": (*ROW, "run") if before else ROW,
        "site_fields": SiteRecord.__struct_fields__,
        "records": rows,
        "sites": sites.values,
        "environments": environments.values,
    }


def _column(column: Column, records: Sequence[Record], earlier: Sequence[Record | None]) -> dict[str, Any]:
    values = [column.value(record) for record in records]
    texts = [column.shown(value) for value in values]
    told = {"header": column.header, "priority": column.priority}
    if earlier:
        texts = [
            text if one is None or (old := column.shown(column.value(one))) == text else f"{old} \u2192 {text}"
            for text, one in zip(texts, earlier, strict=True)
        ]
    if any(isinstance(value, int | float) for value in values):
        numbers = [_number(value) for value in values]
        return {**told, "numeric": True, "texts": texts, "values": numbers}
    distinct = _Interned()
    codes = [distinct.index(text, text) for text in texts]
    return {**told, "numeric": False, "texts": distinct.values, "codes": codes}


def _number(value: Any) -> float | int | None:
    """Return the sort keys of the table: numbers that JSON cannot express sort last, as missing values do."""
    if isinstance(value, int):
        return value
    return value if isinstance(value, float) and math.isfinite(value) else None


def _says(value: object) -> bool:
    """Whether a field holds something to show; zero and False do."""
    return value is not None and value not in ("", (), {})


class _Interned:
    """Distinct values in the order of their first use, and the place of each."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._places: dict[Hashable, int] = {}

    def index(self, key: Hashable, value: Any) -> int:
        """Return the place of the value that ``key`` stands for."""
        place = self._places.setdefault(key, len(self.values))
        if place == len(self.values):
            self.values.append(value)
        return place
