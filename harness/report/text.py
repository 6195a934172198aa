"""Text from files and records, made safe to show: on a terminal, and in a cell of a Markdown table."""

from __future__ import annotations

import json
import re

_UNPRINTABLE = re.compile(r"[^\S \n\t]|[^\w\s]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def plain(text: str) -> str:
    """Return text without control characters: each is shown as JSON escapes it, so that none reaches a terminal.

    Line ends and tabs stay. A text that is JSON stays JSON, with the same meaning.
    """
    return _UNPRINTABLE.sub(lambda found: found[0] if found[0].isprintable() else json.dumps(found[0])[1:-1], text)


def cell(text: str) -> str:
    """Return text as one cell of a Markdown table: on one line, its bars escaped."""
    return plain(" ".join(text.split())).replace("|", "\\|")
