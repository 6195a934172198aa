"""A table on a terminal: the columns that fit, long texts wrapped inside their cells, no line wider than the terminal.

The columns of priority 0 are always there; if even they do not fit, the widest of them are folded. The others follow in
the order of their priority for as long as there is room. A last line names those left out.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len, chop_cells

from harness.report.table import DECIDING, Column, Table
from harness.system.text import plural

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

GAP = "  "
NARROWEST = 4
"""Width in characters below which no column is folded."""
JOINED = re.compile(r"[^_./:-]*[_./:-]+|[^_./:-]+")
"""The parts of a word after which it may be broken."""
MORE = "--wide shows them, --columns a,b chooses"


def fitted(table: Table[Any], width: int, *, wide: bool = False, chosen: Sequence[Column[Any]] = ()) -> str:
    """Return the table as text.

    Parameters
    ----------
    table: with at least one row.
    width: of the terminal, in characters.
    wide: whether to show every column on one line each row, however wide.
    chosen: the columns to show, instead of those that fit.
    """
    columns = list(chosen or (table.columns if wide else table.shown()))
    texts = [[column.plain(row) for row in table.rows] for column in columns]
    full = [_full(column, cells) for column, cells in zip(columns, texts, strict=True)]
    least = [_least(column, one) for column, one in zip(columns, full, strict=True)]
    shown = list(range(len(columns))) if wide or chosen else _fitting(columns, least, width)
    widths = [full[n] for n in shown] if wide else _widths([full[n] for n in shown], [least[n] for n in shown], width)
    lines = _lines([columns[n] for n in shown], [texts[n] for n in shown], widths, table.rows)
    left = [columns[n].header for n in range(len(columns)) if n not in shown]
    if left:
        count = plural(len(left), "more column")
        lines = [*lines, *folded(f"{count}: {', '.join(left)}; {MORE}", width)]
    return "\n".join(lines)


def folded(text: str, width: int, indent: str = "") -> list[str]:
    """Return a text as lines of at most a width, the later ones indented; no sign but white space is lost.

    Lines end between words; a word that is longer than a line is broken after a sign that joins names, such as an
    underscore, or else anywhere.
    """
    if cell_len(text) <= width:
        return [text]
    lines: list[str] = []
    room = max(2, width - len(indent))
    for word in text.split():
        for number, piece in enumerate(_pieces(word, room)):
            if lines and not number and cell_len(f"{lines[-1]} {piece}") <= width:
                lines[-1] += f" {piece}"
            else:
                lines.append(indent + piece if lines else piece)
    return lines or [""]


def _pieces(word: str, width: int) -> list[str]:
    """Return the parts of a word that is broken into lines of a width."""
    if cell_len(word) <= width:
        return [word]
    pieces = [""]
    for part in JOINED.findall(word):
        if cell_len(pieces[-1] + part) <= width:
            pieces[-1] += part
        else:
            first, *more = chop_cells(part, width)
            pieces += [first, *more]
    return [piece for piece in pieces if piece]


def _full(column: Column[Any], cells: Sequence[str]) -> int:
    """Return the width at which no cell is wrapped; a header may be, between its words."""
    header = max((cell_len(word) for word in (column.short or column.header).split()), default=0)
    return max([header, *map(cell_len, cells)])


def _least(column: Column[Any], full: int) -> int:
    header = max((cell_len(word) for word in (column.short or column.header).split()), default=0)
    return min(full, max(header, column.width)) if column.width else full


def _fitting(columns: Sequence[Column[Any]], least: Sequence[int], width: int) -> list[int]:
    """Return the places of the columns to show."""
    deciding = [n for n, one in enumerate(columns) if one.priority == DECIDING]
    used = sum(least[n] + len(GAP) for n in deciding) - len(GAP)
    chosen = set(deciding)
    others = [n for n in range(len(columns)) if n not in chosen]
    for n in sorted(others, key=lambda n: (columns[n].priority, n)):
        if used + len(GAP) + least[n] <= width:
            used += len(GAP) + least[n]
            chosen.add(n)
    return sorted(chosen)


def _widths(full: Sequence[int], least: Sequence[int], width: int) -> list[int]:
    """Return the width of each column: the room that is left goes to wrapped ones; what is too wide is folded."""
    room = width - len(GAP) * (len(full) - 1)
    widths = list(least)
    while sum(widths) > room and max(widths) > NARROWEST:
        widths[widths.index(max(widths))] -= 1
    while sum(widths) < room:
        wanting = [n for n in range(len(widths)) if widths[n] < full[n]]
        if not wanting:
            break
        widths[min(wanting, key=lambda n: widths[n])] += 1
    return widths


def _lines(
    columns: Sequence[Column[Any]], texts: Sequence[Sequence[str]], widths: Sequence[int], rows: Sequence[Any]
) -> list[str]:
    right = [_numeric(column, rows) for column in columns]
    headers = [column.short or column.header for column in columns]
    lines = list(_row(headers, widths, right))
    lines.append(GAP.join("-" * width for width in widths).rstrip())
    for cells in zip(*texts, strict=True):
        lines += _row(cells, widths, right)
    return lines


def _numeric(column: Column[Any], rows: Sequence[Any]) -> bool:
    """Whether the column holds numbers, which are aligned on the right."""
    found = [value for row in rows[:100] if (value := column.value(row)) is not None]
    return bool(found) and all(isinstance(value, int | float) and not isinstance(value, bool) for value in found)


def _row(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> Iterator[str]:
    """Yield the lines of a row."""
    parts = [folded(text, width) for text, width in zip(cells, widths, strict=True)]
    for number in range(max(map(len, parts), default=0)):
        line = [
            _padded(part[number] if number < len(part) else "", width, to_right=to_right)
            for part, width, to_right in zip(parts, widths, right, strict=True)
        ]
        yield GAP.join(line).rstrip()


def _padded(text: str, width: int, *, to_right: bool) -> str:
    space = " " * (width - cell_len(text))
    return space + text if to_right else text + space
