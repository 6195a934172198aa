"""How a program takes its tokens, and which of a run's logits each way gives.

========  ==============================================================================================
prefill   one function of N tokens
decode    one function of one token, which keeps keys and values of N positions as Core ML states
flexible  one function of 1 to N tokens
both      two functions, ``prefill`` of the first N // 2 tokens and ``decode`` of one, on the same states and weights
========  ==============================================================================================

In every shape a run is of the same N tokens, so that their logits compare.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from harness.errors import HarnessError, check_name

KINDS = ("prefill", "decode", "flexible", "both")
"""Names of the shapes, the default one first."""

LENGTH = 32
"""Tokens of a run where no number is given."""

LONGEST = 32_768
"""More tokens than this no shape takes: coremltools casts indices to int16."""


@dataclass(frozen=True, slots=True)
class Shape:
    """One of :data:`KINDS`, and the number N of tokens."""

    kind: str = KINDS[0]
    length: int = LENGTH

    def __str__(self) -> str:
        """Spell it as :func:`parse` reads it: ``decode:32``."""
        return f"{self.kind}:{self.length}"

    @property
    def stateful(self) -> bool:
        """Whether the program keeps keys and values as states."""
        return self.kind in ("decode", "both")

    @property
    def prefilled(self) -> int:
        """Number of tokens that the function ``prefill`` of ``both`` takes at once; elsewhere 0."""
        return self.length // 2 if self.kind == "both" else 0

    def queries(self) -> dict[str, int]:
        """Return the tokens each function takes in one call; for ``flexible``, the most."""
        if self.kind == "both":
            return {"prefill": self.prefilled, "decode": 1}
        return {"main": 1 if self.kind == "decode" else self.length}


def parse(text: str) -> Shape:
    """Read ``decode`` or ``decode:64``.

    Raises
    ------
    UnknownNameError: for an unknown kind.
    HarnessError: for a number of tokens that is none, too small or too large.
    """
    kind, colon, digits = text.partition(":")
    check_name("shape", kind, KINDS)
    if not colon:
        return Shape(kind)
    least = 2 if kind == "both" else 1
    if not re.fullmatch(r"[0-9]{1,9}", digits) or not least <= int(digits) <= LONGEST:
        raise HarnessError(f"--shape {text}: expected {kind}:N with N from {least} to {LONGEST}, got {digits!r}")
    return Shape(kind, int(digits))
