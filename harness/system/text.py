"""Text from files and records, made safe to show: on a terminal, in one line, and in a cell of a Markdown table."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

MODEL_KEY = re.compile(r"\w[\w.\-]*")
"""A model's key, which names its zoo file and the file of its baseline."""
_UNPRINTABLE = re.compile(r"[^\S \n\t]|[^\w\s]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def plain(text: str) -> str:
    """Return text in which each control character is replaced by its JSON escape, so that none reaches a terminal.

    Line ends and tabs stay. JSON text stays valid JSON with the same meaning.
    """
    return _UNPRINTABLE.sub(lambda found: found[0] if found[0].isprintable() else json.dumps(found[0])[1:-1], text)


def one_line(text: str) -> str:
    """Return text on one line, without control characters; line ends and tabs are escaped as well."""
    return plain(text).replace("\n", "\\n").replace("\t", "\\t")


def is_unicode(text: str) -> bool:
    """Return whether a text can be stored as UTF-8: names of files and escapes in JSON may hold half a character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def cell(text: str) -> str:
    """Return text as one cell of a Markdown table: on one line, its bars escaped."""
    return plain(squeezed(text)).replace("|", "\\|")


def squeezed(text: object) -> str:
    """Return the text of anything, an exception for example, with each run of white space as one space."""
    return " ".join(str(text).split())


INVARIABLE = ("series", "suspicious")


def plural(count: int, thing: str) -> str:
    """Return ``1 row`` or ``1,204 rows``."""
    return f"{count:,} {thing if count == 1 or thing in INVARIABLE else thing + 's'}"


def some(names: Sequence[str]) -> str:
    """Return the first three names and the number of the others."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
