"""Cache constant properties of coremltools' types, which it queries a hundred thousand times.

Each query whether a type is a tensor, a list or a float builds a new object that describes the type, and for a tensor
one for each of its dimensions. The answers depend only on the type, which is a class, so the caching functions may act
in every thread. Whether a value contains a symbol is not cached: most values are numbers, of which none is a symbol.
"""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
from coremltools.converters.mil.mil import types
from coremltools.converters.mil.mil.types import symbolic, type_mapping
from coremltools.converters.mil.mil.var import Var

from ane_rms.coremltools_patches.in_every_thread import InEveryThread

if TYPE_CHECKING:
    from collections.abc import Callable

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
    "numpy_type_to_builtin_type": "f0e7a145b94b5027",
    "any_symbolic": "91e2b143a7c603a5",
}
"""The functions that are asked less, with the digest of the source of each."""

PLAIN = frozenset({bool, int, float, str, type(None), np.bool_, np.int32, np.int64, np.float16, np.float32})
"""Types of values that are not symbols and contain none."""

PACKAGE = "coremltools."


class Memo(InEveryThread):
    """A function about types or values, under its name in one module of coremltools; messages name it only once."""

    __slots__ = ()

    @property
    def name(self) -> str:
        """The function's name, for messages."""
        return self.attribute


def _once_a_type(answers: dict[Any, Any]) -> Callable[[Any], Any]:
    def make(original: Any) -> Any:
        def ask(t: Any) -> Any:
            if type(t) is not type:  # a value of the type, or an object that cannot be a key
                return original(t)
            try:
                return answers[t]
            except KeyError:
                answer = answers[t] = original(t)
                return answer

        return ask

    return make


def _once_a_dtype(answers: dict[Any, Any]) -> Callable[[Any], Any]:
    def make(original: Any) -> Any:
        def ask(nptype: Any) -> Any:
            if not isinstance(nptype, np.dtype) or nptype.metadata is not None:  # equal dtypes differ in metadata
                return original(nptype)
            try:
                return answers[nptype]
            except KeyError:
                answer = answers[nptype] = original(nptype)
                return answer

        return ask

    return make


def _unless_plain(_: dict[Any, Any]) -> Callable[[Any], Any]:
    def make(original: Any) -> Any:
        def ask(val: Any) -> Any:
            kind = type(val)
            if kind in PLAIN or (kind is np.ndarray and val.dtype.type is not np.object_):
                return False
            if kind in (tuple, list) and PLAIN.issuperset(map(type, val)):
                return False
            return original(val)

        return ask

    return make


OTHERS = {"numpy_type_to_builtin_type": _once_a_dtype, "any_symbolic": _unless_plain}
"""The functions that are not asked about types of coremltools."""


def _element_type(_: Any) -> Any:
    answers: dict[Any, Any] = {}

    def element_type(var: Any) -> Any:
        kind = var._sym_type  # noqa: SLF001 - the method's own
        try:
            return answers[kind]
        except KeyError:
            pass
        answer = kind
        if types.is_tensor(kind):
            answer = kind.get_primitive()
        elif types.is_state(kind):
            wrapped = kind.wrapped_type()
            assert types.is_tensor(wrapped), "only tensor type is supported in state type."  # noqa: S101 - theirs
            answer = wrapped.get_primitive()
        answers[kind] = answer
        return answer

    return element_type


@functools.cache
def _places(attribute: str) -> tuple[Any, ...]:
    """Return the modules of coremltools that have a function of types under its name."""
    function = next(getattr(one, attribute) for one in (types, type_mapping, symbolic) if hasattr(one, attribute))
    return tuple(
        module
        for name, module in list(sys.modules.items())
        if name.startswith(PACKAGE) and getattr(module, "__dict__", {}).get(attribute) is function
    )


def memos() -> list[Memo]:
    """Return the replacements of the functions of :data:`KNOWN`, one for each module that has a function."""
    found = []
    for attribute, known in KNOWN.items():
        answers: dict[Any, Any] = {}  # shared by the modules
        make = OTHERS.get(attribute, _once_a_type)(answers)
        found += [Memo(module, attribute, known, make, "each type is asked once") for module in _places(attribute)]
    return found


def patches() -> list[InEveryThread]:
    """Return the replacement of the method that gives a value's element type."""
    return [
        InEveryThread(Var, "_get_dtype", "4f7093c62aa200e6", _element_type, "each type is asked once for its elements")
    ]
