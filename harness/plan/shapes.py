"""Define the shapes of programs: how a program takes its tokens, and which of a run's logits it gives.

========  ==============================================================================================
prefill   one function of N tokens
decode    one function of one token, which keeps keys and values of N positions as Core ML states
flexible  one function of 1 to N tokens
both      two functions, ``prefill`` of the first N // 2 tokens and ``decode`` of one, on the same states and weights
========  ==============================================================================================

A run has the same N tokens in every shape, so the logits are comparable.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from harness.errors import HarnessError, check_name

KINDS = ("prefill", "decode", "flexible", "both")
"""Names of the shapes, the default one first."""

LENGTH = 32
"""Number of tokens of a run if none is given."""

LONGEST = 32_768
"""Largest number of tokens of any shape, because coremltools casts indices to int16."""


@dataclass(frozen=True, slots=True)
class Shape:
    """One of :data:`KINDS`, and the number N of tokens."""

    kind: str = KINDS[0]
    length: int = LENGTH

    def __str__(self) -> str:
        """Return the form that :func:`parse` reads, such as ``decode:32``."""
        return f"{self.kind}:{self.length}"

    @property
    def stateful(self) -> bool:
        """Whether the program keeps keys and values as states."""
        return self.kind in ("decode", "both")

    @property
    def prefilled(self) -> int:
        """Number of tokens that the function ``prefill`` of ``both`` takes in one call; 0 for other shapes."""
        return self.length // 2 if self.kind == "both" else 0

    def queries(self) -> dict[str, int]:
        """Return the number of tokens each function takes in one call; the largest one for ``flexible``."""
        if self.kind == "both":
            return {"prefill": self.prefilled, "decode": 1}
        return {"main": 1 if self.kind == "decode" else self.length}


def parse(text: str) -> Shape:
    """Read ``decode`` or ``decode:64``.

    Raises
    ------
    UnknownNameError: for an unknown kind.
    HarnessError: for a number of tokens that is not a number, too small or too large.
    """
    kind, colon, digits = text.partition(":")
    check_name("shape", kind, KINDS)
    if not colon:
        return Shape(kind)
    least = 2 if kind == "both" else 1
    if not re.fullmatch(r"[0-9]{1,9}", digits) or not least <= int(digits) <= LONGEST:
        raise HarnessError(f"--shape {text}: expected {kind}:N with N from {least} to {LONGEST}, got {digits!r}")
    return Shape(kind, int(digits))
