"""Parse the rescale choice of options and zoo files, which fits a model into float16: ``auto``, ``off`` or a factor."""

from __future__ import annotations

import math
import re

from harness.errors import HarnessError

AIMS = ("peaks", "sums")
"""Aims of ``auto``: bring values into range, or the sums of squares in norms as well. The default is first."""

_POWER = re.compile(r"2(?:\^|\*\*)(-?[0-9]{1,3})")


def parse(text: str, where: str, error: type[HarnessError] = HarnessError) -> str:
    """Return ``"auto"``, ``"off"``, or a power of two in the form ``"2^-3"``.

    Parameters
    ----------
    text: one of the two words, or a number: 0.125, 1/8, 2^-3 or 2**-3.
    where: the name of the place in an error, for example ``"--rescale"``.
    error: the class of error that is raised.

    Raises
    ------
    HarnessError: of that class, in one line, for anything else.
    """
    if text in ("auto", "off"):
        return text
    power = _POWER.fullmatch(text)
    exponent = int(power[1]) if power else _exponent(text, where, error)
    if not -64 <= exponent <= 64:
        raise error(f"{where} {text}: expected a power of two between 2^-64 and 2^64")
    return f"2^{exponent}"


def _exponent(text: str, where: str, error: type[HarnessError]) -> int:
    over, slash, under = text.partition("/")
    try:
        value = float(over) / float(under) if slash else float(over)
    except (ValueError, ZeroDivisionError):
        value = math.nan
    if not (math.isfinite(value) and value > 0 and math.frexp(value)[0] == 0.5):
        raise error(f"{where} {text}: expected auto, off, or a power of two such as 0.125 or 2^-3")
    return math.frexp(value)[1] - 1


def factor(choice: str) -> float:
    """Return the number of a choice such as ``"2^-3"``."""
    return 2.0 ** int(choice.removeprefix("2^"))
