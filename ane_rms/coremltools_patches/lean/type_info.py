"""Cache constant properties of coremltools' types, which it queries a hundred thousand times.

Each query whether a type is a tensor, a list or a float builds a new object that describes the type, and for a tensor
one for each of its dimensions. The answers depend only on the type, which is a class, so the caching functions may act
in every thread.
"""

from __future__ import annotations

import functools
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from coremltools.converters.mil.mil import types
from coremltools.converters.mil.mil.types import type_mapping

from ane_rms.coremltools_patches.guard import digest

if TYPE_CHECKING:
    from ane_rms.coremltools_patches.guard import Key

KNOWN = {
    "get_type_info": "4bc82ca9b3da6f01",
    "is_tensor": "0574ba94dd69b322",
    "is_scalar": "fa97e1392719bb8a",
    "is_list": "ac49185b78f652af",
    "is_state": "6ec1a5d05a0f1f27",
    "is_float": "a01f476584f26310",
    "is_int": "695e1c1b4144a804",
    "is_dict": "9c1c612860f51026",
    "builtin_to_string": "62517cb5fe6e8b4d",
}
"""The functions whose results are cached, with the digest of the source of each."""

PACKAGE = "coremltools."


@dataclass(frozen=True, slots=True)
class Memo:
    """A function of a type that is called once for each type."""

    owner: Any
    attribute: str
    answers: dict[type, Any]
    """The cached results, shared by the modules that have imported the function."""

    def objection(self, original: Any) -> str:
        """Return why the function is not to be replaced; "" if it is."""
        if digest(original) == KNOWN[self.attribute]:
            return ""
        return f"{self.attribute} is not the one known; converting without this: each type is asked once"

    def inert(self, original: Any, key: Key) -> Any:  # noqa: ARG002 - the answers are the same in every thread
        """Return the caching function."""
        answers = self.answers

        @functools.wraps(original)
        def ask(t: Any) -> Any:
            if type(t) is not type:  # a value of the type, or an object that cannot be a key
                return original(t)
            try:
                return answers[t]
            except KeyError:
                answer = answers[t] = original(t)
                return answer

        return ask

    def active(self, original: Any, outer: Any) -> Any:  # noqa: ARG002 - nothing to switch on
        """Return a mark."""
        return True


@functools.cache
def _places(attribute: str) -> tuple[Any, ...]:
    """Return the modules of coremltools that have a function of types under its name."""
    function = getattr(types, attribute, None) or getattr(type_mapping, attribute)
    return tuple(
        module
        for name, module in list(sys.modules.items())
        if name.startswith(PACKAGE) and getattr(module, "__dict__", {}).get(attribute) is function
    )


def memos() -> list[Memo]:
    """Return the replacements."""
    found = []
    for attribute in KNOWN:
        answers: dict[type, Any] = {}
        found += [Memo(module, attribute, answers) for module in _places(attribute)]
    return found
