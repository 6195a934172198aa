"""Number the symbols of unknown sizes so that no two threads get the same number.

coremltools names a new symbol after a module variable and then adds one to it. Two threads that read it before either
has added get one name, and the second fails: "Symbol `is5` is used already". Replacing the functions would not reach
those who have imported them by name, so the variable itself is replaced.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

from coremltools.converters.mil.mil import program

from ane_rms.coremltools_patches.guard import digest

if TYPE_CHECKING:
    from typing_extensions import Self

    from ane_rms.coremltools_patches.guard import Key

NUMBERING = {"get_new_symbol": "bb1a4f96483efa22", "get_new_variadic_symbol": "37a5e64c1e929513"}
"""The functions that read the variable and add one to it, with the digest of the source of each."""


class Numbers:
    """Stands for an integer that each reader takes as text, and adds one to: each text is the next number."""

    def __init__(self, first: int) -> None:
        self._numbers = count(first)

    def __int__(self) -> int:
        """Return the next number."""
        return next(self._numbers)  # one step of the interpreter, which no other thread interrupts

    def __str__(self) -> str:
        """Return the next number as text."""
        return str(int(self))

    def __iadd__(self, _one: int) -> Self:
        """Leave the counting to the readers."""
        return self


@dataclass(frozen=True, slots=True)
class SymbolNumbers:
    """Replaces the variable that coremltools counts its symbols in. Afterwards the integer goes on from there."""

    owner: Any = program
    attribute: str = "k_num_internal_syms"

    def objection(self, original: Any) -> str:
        """Return why the variable must not be replaced; "" if it may be."""
        others = (name for name, known in NUMBERING.items() if digest(getattr(program, name, None)) != known)
        other = next(others, "" if type(original) is int else self.attribute)
        text = "is not the one known; converting without this: symbols of several threads get different numbers"
        return f"program.{other} {text}" if other else ""

    def inert(self, original: Any, key: Key) -> Any:  # noqa: ARG002 - the same in every thread
        """Return the counter."""
        return Numbers(original)

    def active(self, original: Any, outer: Any) -> Any:  # noqa: ARG002 - nothing to switch on
        """Return a mark."""
        return True
