"""Names that a finished program does not use yet."""

from __future__ import annotations


def unused(name: str, names: set[str]) -> str:
    """Return ``name``, with a number if it is used already, and add the result to ``names``."""
    found, number = name, 0
    while found in names:
        number += 1
        found = f"{name}_{number}"
    names.add(found)
    return found
