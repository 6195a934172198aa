"""The formats of a command's answer: a table for people, Markdown, tab-separated or comma-separated values, JSON."""

from __future__ import annotations

import csv as comma_separated
import io
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from tabulate import tabulate

from harness.errors import UnknownNameError
from harness.report.fitted import fitted, folded
from harness.report.table import Column, Document, Table, key
from harness.system.light_registry import Registry
from harness.system.text import squeezed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


@dataclass(frozen=True, slots=True)
class Layout:
    """How a table for people is shown.

    Parameters
    ----------
    width: of the terminal, in characters; None where the output is no terminal.
    wide: whether to show every column, however wide.
    columns: the names of the columns to show; none for those that fit.
    """

    width: int | None = None
    wide: bool = False
    columns: tuple[str, ...] = ()


class Format(Protocol):
    """Render a document."""

    def __call__(self, document: Document, layout: Layout = ..., /) -> str:
        """Return the text."""


FORMATS: Registry[Format] = Registry("format", UnknownNameError)
"""Every output format by name."""
FOR_PEOPLE = ("table", "github")
"""Formats that hold sentences beside the data."""


@FORMATS.register
def table(document: Document, layout: Layout = Layout()) -> str:
    """Return tables that fit the terminal, or Markdown where there is none."""
    if layout.width is None:
        return github(document, layout)
    texts = []
    for part, chosen in _parts(document, layout):
        if isinstance(part, str):
            texts.append("\n".join(line for text in part.splitlines() for line in folded(text, layout.width, "  ")))
        else:
            title = "".join(f"{line}\n" for line in folded(part.title, layout.width)) if part.title else ""
            texts.append(title + fitted(part, layout.width, wide=layout.wide, chosen=chosen))
    return "\n\n".join(texts)


@FORMATS.register
def github(document: Document, layout: Layout = Layout()) -> str:
    """Return GitHub Markdown."""
    texts = []
    for part, chosen in _parts(document, layout):
        if isinstance(part, str):
            texts.append(part)
        else:
            columns = chosen or [column for column in part.shown() if not column.on_terminal_only]
            rows = [[column.text(row) for column in columns] for row in part.rows]
            headers = [column.header for column in columns]
            title = f"{part.title}\n\n" if part.title else ""
            texts.append(title + tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True))
    return "\n\n".join(texts)


@FORMATS.register
def tsv(document: Document, layout: Layout = Layout()) -> str:
    """Return the main table as tab-separated texts with a header line; tabs and line ends in a value are spaces."""
    columns, rows = _flat(document, layout)
    lines = [[column.header for column in columns]]
    lines += [[column.plain(row) for column in columns] for row in rows]
    return "\n".join("\t".join(line) for line in lines)


@FORMATS.register
def csv(document: Document, layout: Layout = Layout()) -> str:
    """Return the main table as comma-separated values under a line of keys: numbers in full, missing ones empty."""
    columns, rows = _flat(document, layout)
    written = io.StringIO()
    writer = comma_separated.writer(written, lineterminator="\n")
    writer.writerow([key(column.header) for column in columns])
    writer.writerows([[_value(column.value(row)) for column in columns] for row in rows])
    return written.getvalue().rstrip("\n")


@FORMATS.register
def json(document: Document, _layout: Layout = Layout()) -> str:
    """Return the data as JSON; a number that is not finite is null."""
    return msgspec.json.format(msgspec.json.encode(document.values()), indent=2).decode()


def check_columns(names: Iterable[str], columns: Iterable[Column[Any]]) -> None:
    """Check that columns of these names exist, before the work whose table they are of.

    Raises
    ------
    UnknownNameError: for a name that no column has.
    """
    _chosen(tuple(names), tuple(columns))


def _parts(document: Document, layout: Layout) -> Iterable[tuple[Table[Any] | str, Sequence[Column[Any]]]]:
    """Yield what is to be shown, each table with the columns chosen for it: those named are of the first."""
    first = next(iter(document.tables), None)
    chosen = _chosen(layout.columns, first.columns) if first is not None else []
    for part in document.parts:
        if isinstance(part, str):
            yield part, ()
        elif part.rows:
            yield part, chosen if part is first else ()


def _flat(document: Document, layout: Layout) -> tuple[Sequence[Column[Any]], Sequence[Any]]:
    found = document.flat or document.tables[0]
    columns = [column for column in found.columns if not column.on_terminal_only]
    return _chosen(layout.columns, (*found.columns, *document.tables[0].columns)) or columns, found.rows


def _chosen(names: Sequence[str], columns: Sequence[Column[Any]]) -> list[Column[Any]]:
    found: dict[str, Column[Any]] = {}
    for column in columns:
        for name in column.names:
            found.setdefault(name, column)
    for name in names:
        if key(name) not in found:
            raise UnknownNameError("column", name, found)
    return [found[key(name)] for name in names]


def _value(value: Any) -> str:
    """Return a raw value as comma-separated values have it."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else squeezed(value)
