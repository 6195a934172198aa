"""The project's extras: sentences for packages that only some commands need, and that are not installed."""

from __future__ import annotations


def install(extra: str) -> str:
    """Return how an extra is installed, for the end of a message."""
    return f"install the extra {extra}: pip install '.[{extra}]' in a checkout, or a wheel's path with [{extra}]"
