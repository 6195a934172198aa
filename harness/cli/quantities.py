"""Sizes and times as people write them on a command line: ``20G``, ``512M``, ``90s``, ``30m``, ``2h``."""

from __future__ import annotations

import re

from harness.errors import ArgumentError

_SIZES = {"": 1, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_TIMES = {"": 1.0, "MS": 1e-3, "S": 1.0, "M": 60.0, "H": 3600.0}
_FORM = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*")


def size_bytes(text: str, option: str) -> int:
    """Return a size in bytes; units are decimal, ``G`` is 1e9.

    Raises
    ------
    ArgumentError: naming the option.
    """
    found = _FORM.fullmatch(text)
    unit = found[2].upper().removesuffix("B") if found else "?"
    if found is None or unit not in _SIZES or not (size := int(float(found[1]) * _SIZES[unit])):
        raise ArgumentError(f"{option}: expected a size such as 20G or 512M, got {text!r}")
    return size


def seconds(text: str, option: str) -> float:
    """Return a time in seconds.

    Raises
    ------
    ArgumentError: naming the option.
    """
    found = _FORM.fullmatch(text)
    if found is None or found[2].upper() not in _TIMES or not float(found[1]):
        raise ArgumentError(f"{option}: expected a time such as 90s, 30m or 2h, got {text!r}")
    return float(found[1]) * _TIMES[found[2].upper()]


def memory_budget(text: str | None) -> int:
    """Return the memory that ``--memory`` allows, in bytes; by default 85 % of the machine's.

    Raises
    ------
    ArgumentError: for a number without a unit, which would be bytes, or anything else that is not a size.
    """
    from harness.workers.memory import machine_bytes

    if text is None:
        return int(machine_bytes() * 0.85)
    if text.strip().isdigit():
        raise ArgumentError(f"--memory: {text} bytes hold no model; name the unit: {text.strip()}G")
    return size_bytes(text, "--memory")
