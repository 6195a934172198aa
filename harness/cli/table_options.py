"""The options of every command that prints a table, and the one way in which such a command answers."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.output import say

if TYPE_CHECKING:
    from collections.abc import Iterable

    from harness.report.table import Column, Document


@dataclass(frozen=True, kw_only=True)
class TableOptions:
    """Values as given on the command line."""

    form: Annotated[
        str, typer.Option("--format", help="table (Markdown where output is no terminal), github, tsv, csv or json.")
    ] = "table"
    wide: Annotated[bool, typer.Option("--wide", help="Show every column, however wide the terminal.")] = False
    columns: Annotated[
        str | None,
        typer.Option(
            "--columns", metavar="A,B,C", help="Show these columns of the first table, in this order; JSON has all."
        ),
    ] = None

    def check(self, columns: Iterable[Column[Any]] = ()) -> None:
        """Check the format's name and, against the columns that there will be, the columns' names.

        Raises
        ------
        UnknownNameError: for an unknown name.
        """
        from harness.report.formats import FORMATS, check_columns

        FORMATS.check(self.form)
        if columns := tuple(columns):
            check_columns(self._chosen, columns)

    @property
    def for_people(self) -> bool:
        """Whether sentences belong on stdout, beside the tables; else nothing but the data does."""
        from harness.report.formats import FOR_PEOPLE

        return self.form in FOR_PEOPLE

    @property
    def on_terminal(self) -> bool:
        """Whether tables and sentences go to a terminal."""
        return self.for_people and sys.stdout.isatty()

    def show(self, document: Document) -> None:
        """Print a document; nothing if it is empty."""
        from harness.report.formats import FORMATS, Layout

        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        text = FORMATS[self.form](document, Layout(width, self.wide, self._chosen))
        if text:
            say(text)

    @property
    def _chosen(self) -> tuple[str, ...]:
        return tuple(name.strip() for name in (self.columns or "").split(",") if name.strip())
