"""Format a table of text with aligned columns and one line for each row."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows of text in aligned columns, under their headers and a rule.

    Parameters
    ----------
    headers: one a column.
    rows: each of as many cells as there are headers.
    """
    widths = [max(len(row[at]) for row in (headers, *rows)) for at in range(len(headers))]
    rule = ["-" * width for width in widths]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (headers, rule, *rows)
    )
