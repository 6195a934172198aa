"""The table of a run's records, a line for each record with a reason, and the table of rescaled regions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.report import formats, rescale_table
from harness.report.columns import COLUMNS, Column
from harness.report.table import Document, Table
from harness.system.text import squeezed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.records.schema import Record

REASON = Column("reason", lambda record: squeezed(record.reason), absent="")
"""The last column of tab-separated and comma-separated values."""


def document(records: Sequence[Record], columns: Sequence[Column] = COLUMNS) -> Document:
    """Return the tables of records with the columns given; JSON holds the whole records.

    The columns are those that carry information: all for programs, fewer for people.
    """
    table = Table(columns, records)
    reasons = [f"- {record.title}: {squeezed(record.reason)}" for record in records if record.reason]
    scaled = rescale_table.table(records)
    parts: list[Table[Record] | Table[rescale_table.Region] | str] = [
        table,
        *(["\n".join(reasons)] if reasons else []),
        *([scaled] if scaled.rows else []),
    ]
    return Document(parts, Table((*columns, REASON), records), list(records))


def github(records: Sequence[Record], columns: Sequence[Column] = COLUMNS) -> str:
    """Return the tables as GitHub Markdown."""
    return formats.github(document(records, columns))
