"""The tables of every command: columns with a header, a priority and a least width, over rows of any type.

A table is written as Markdown, tab-separated or comma-separated values, or JSON by ``harness.report.formats``, and on a
terminal by ``harness.report.fitted``, which chooses columns by priority so that no line is wider than the terminal.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from harness.system.text import cell, squeezed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Row = TypeVar("Row")

DECIDING, USUAL, DETAIL = 0, 1, 2
"""Priorities: always on a terminal; there if the width allows; there if the width then still allows."""


@dataclass(frozen=True)  # slots do not go with Column[Row](...) on Python 3.11
class Column(Generic[Row]):
    """One column: its header, how to read its value from a row, and how to show it."""

    header: str
    value: Callable[[Row], Any]
    spec: str | Callable[[Any], str] = ""
    """A format specification, or a function of the value."""
    usual: str | None = None
    """The value, as text, for which a column is left out if all rows have it."""
    priority: int = USUAL
    """On a terminal, columns of a lower number stay longer; those of :data:`DECIDING` are always there."""
    width: int = 0
    """The least width to which the column's texts are wrapped inside their cells; 0 if they stay on one line."""
    short: str = ""
    """The header on a terminal, if it is another."""
    absent: str = "-"
    """The text of a value that is not there."""
    on_terminal_only: bool = False
    """Whether the column sums up others where room is short, and so is left out of Markdown and of values."""

    def text(self, row: Row) -> str:
        """Return the value as shown in a table's cell; of one that is not there, :attr:`absent`."""
        return cell(self.shown(self.value(row)))

    def shown(self, value: Any) -> str:
        """Return a value of this column as it is shown."""
        if value is None or value == "":
            return self.absent
        return self.spec(value) if callable(self.spec) else format(value, self.spec)

    def plain(self, row: Row) -> str:
        """Return the value as shown outside of Markdown, on one line."""
        return squeezed(self.shown(self.value(row)))

    @property
    def names(self) -> tuple[str, ...]:
        """The names that ``--columns`` takes for this column."""
        return tuple(dict.fromkeys(map(key, filter(None, (self.short, self.header)))))


def key(header: str) -> str:
    """Return a header as a key of JSON and a name for ``--columns``: ``relative L2`` is ``relative_l2``."""
    return re.sub(r"[^0-9a-z]+", "_", header.lower().replace("/", " per ")).strip("_")


@dataclass(frozen=True)
class Table(Generic[Row]):
    """Rows under columns.

    Parameters
    ----------
    columns: every one there is; those that have only their usual value are left out when the table is shown.
    rows: of the type that the columns read.
    name: the table's key in JSON, where a document has several.
    title: a line above the table, for people.
    """

    columns: Sequence[Column[Row]]
    rows: Sequence[Row]
    name: str = ""
    title: str = ""

    def shown(self) -> tuple[Column[Row], ...]:
        """Return the columns that carry information about these rows."""
        return tuple(
            column
            for column in self.columns
            if column.usual is None or any(column.text(row) != column.usual for row in self.rows)
        )

    def objects(self) -> list[dict[str, Any]]:
        """Return a dictionary of raw values for each row."""
        columns = [(key(column.header), column) for column in self.columns if not column.on_terminal_only]
        return [{name: column.value(row) for name, column in columns} for row in self.rows]


@dataclass(frozen=True, slots=True)
class Document:
    """A command's answer: tables and sentences in the order in which people read them.

    Parameters
    ----------
    parts: tables, and texts between them. The first table is the one that ``--columns`` is about.
    flat: the table of tab-separated and comma-separated values, if it is not the first.
    data: what JSON holds. Default: the rows of the one table, or the rows of each by its name.
    """

    parts: Sequence[Table[Any] | str]
    flat: Table[Any] | None = None
    data: Any = None

    @property
    def tables(self) -> list[Table[Any]]:
        """The tables among the parts."""
        return [part for part in self.parts if isinstance(part, Table)]

    def values(self) -> Any:
        """Return the data of the JSON format."""
        if self.data is not None:
            return self.data
        tables = self.tables
        return tables[0].objects() if len(tables) == 1 else {one.name: one.objects() for one in tables}


def place(number: int, header: str, spec: str | Callable[[Any], str] = "", **traits: Any) -> Column[Sequence[Any]]:
    """Return a column that reads the value at a place of a row; the traits are those of :class:`Column`."""
    return Column(header, itemgetter(number), spec, **traits)


def places(*columns: str | Callable[[int], Column[Sequence[Any]]]) -> tuple[Column[Sequence[Any]], ...]:
    """Return the columns of rows that are sequences, in their order: a header, or :func:`head` with its traits."""
    return tuple(place(number, one) if isinstance(one, str) else one(number) for number, one in enumerate(columns))


def head(header: str, spec: str | Callable[[Any], str] = "", **traits: Any) -> Callable[[int], Column[Sequence[Any]]]:
    """Return a column whose place in the rows is still to be given, for :func:`places`."""
    return partial(_placed, header=header, spec=spec, traits=traits)


def _placed(number: int, *, header: str, spec: str | Callable[[Any], str], traits: dict[str, Any]) -> Column[Any]:
    return place(number, header, spec, **traits)
