"""A results table as GitHub Markdown, tab-separated values, or JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec
from tabulate import tabulate

from harness.errors import UnknownNameError
from harness.report import rescale_table
from harness.report.columns import COLUMNS, Column, shown
from harness.system.light_registry import Registry
from harness.system.text import squeezed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.records.schema import Record


class Format(Protocol):
    """Render records with all of the columns given, or those of a run's table."""

    def __call__(self, records: Sequence[Record], columns: Sequence[Column] = ..., /) -> str:
        """Return the table."""


FORMATS: Registry[Format] = Registry("format", UnknownNameError)
"""Every output format by name."""


@FORMATS.register
def github(records: Sequence[Record], columns: Sequence[Column] = COLUMNS) -> str:
    """Return a GitHub Markdown table, a line for each record that is not ok, and a table of the rescaled regions."""
    columns = shown(records, columns)
    rows = [[column.text(record) for column in columns] for record in records]
    table = tabulate(rows, headers=[column.header for column in columns], tablefmt="github", disable_numparse=True)
    reasons = [f"- {record.title}: {squeezed(record.reason)}" for record in records if record.reason]
    scaled = rescale_table.render(records)
    return "\n".join([table, *(["", *reasons] if reasons else []), *(["", scaled] if scaled else [])])


@FORMATS.register
def tsv(records: Sequence[Record], columns: Sequence[Column] = COLUMNS) -> str:
    """Return tab-separated values with a header line, the reason last; tabs and line ends in a value are spaces."""
    lines = [[*(column.header for column in columns), "reason"]]
    lines += [[*(column.text(record) for column in columns), squeezed(record.reason)] for record in records]
    return "\n".join("\t".join(line) for line in lines)


@FORMATS.register
def json(records: Sequence[Record], _columns: Sequence[Column] = COLUMNS) -> str:
    """Return the whole records as a JSON array."""
    return msgspec.json.format(msgspec.json.encode(list(records)), indent=2).decode()
