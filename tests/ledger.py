"""What the tests of a session actually saw, tabulated at its end (see ``conftest.py``)."""

from __future__ import annotations

from collections import defaultdict

from tabulate import tabulate

Table = dict[str, dict[str, list[str]]]


class Ledger:
    """Notes by title, row and column. A cell holds every distinct value that was noted there."""

    def __init__(self) -> None:
        self._tables: dict[str, Table] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))

    def note(self, title: str, row: str, column: str, value: str) -> None:
        """Note one observation."""
        cell = self._tables[title][row][column]
        if value not in cell:
            cell.append(value)

    def notes(self) -> list[list[str]]:
        """Return every note, in a form that one process can send to another."""
        return [
            [title, row, column, value]
            for title, rows in self._tables.items()
            for row, cells in rows.items()
            for column, values in cells.items()
            for value in values
        ]

    def merge(self, notes: list[list[str]]) -> None:
        """Add the notes of another process."""
        for title, row, column, value in notes:
            self.note(title, row, column, value)

    def render(self) -> str:
        """Return every table, or "" if nothing was noted."""
        return "\n\n".join(self._render(title, rows) for title, rows in self._tables.items())

    @staticmethod
    def _render(title: str, rows: Table) -> str:
        columns = list(dict.fromkeys(column for cells in rows.values() for column in cells))
        body = [[row, *(", ".join(cells.get(column, [])) or "-" for column in columns)] for row, cells in rows.items()]
        return tabulate(body, headers=[title, *columns], tablefmt="github", disable_numparse=True)
