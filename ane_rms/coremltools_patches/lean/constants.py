"""Infer the type and value of a constant once, in one step.

Two of three ops of a program are constants. coremltools infers the type of each by making a value of it, infers its
value by making that again, and then makes a third one for the op's output.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from coremltools.converters.mil.mil import types
from coremltools.converters.mil.mil.ops.defs.iOS15.control_flow import Const
from coremltools.converters.mil.mil.types import type_mapping
from coremltools.converters.mil.mil.var import Var

from ane_rms.coremltools_patches.in_every_thread import InEveryThread

KEPT = frozenset(
    {np.float16, np.float32, np.int8, np.int16, np.int32, np.uint8, np.uint16, np.uint32, np.bool_},
)
"""The element types of arrays that a constant keeps as they are. Wider ones are narrowed."""

SCALARS = frozenset({bool, int, float, str}) | KEPT

INT32 = np.iinfo(np.int32)
SMALLEST, LARGEST = int(INT32.min), int(INT32.max)

OWN = {"type_inference": "ab2666735d81638c", "value_inference": "2a4a44f6c5192005", "_get_type_val": "f2a316132c9bc655"}
"""The methods of a constant that are reproduced, with the digest of the source of each."""


def patches() -> list[InEveryThread]:
    """Return the replacements."""
    return [
        InEveryThread(
            Const,
            "_get_type_val",
            OWN["_get_type_val"],
            _type_and_value,
            "a value of the type is made to learn the type of a constant",
        ),
        InEveryThread(
            Const,
            "type_value_inference",
            "14f8fdda0e010451",
            _infer,
            "a constant's type is inferred three times, and compared with itself by reduce_transposes",
            {name: OWN[name] for name in ("type_inference", "value_inference")},
        ),
    ]


def _type_and_value(original: Any) -> Any:
    def get_type_val(self: Any, value: Any) -> tuple[Any, Any]:
        kind = type(value)
        if kind is np.ndarray:
            if value.dtype.type in KEPT:
                return types.tensor(type_mapping.numpy_type_to_builtin_type(value.dtype), value.shape), value
        elif kind in KEPT:
            return type_mapping.numpy_type_to_builtin_type(kind), value
        elif kind is bool:
            return types.bool, value
        elif kind is str:
            return types.str, value
        elif kind is float:
            return types.fp32, np.float32(value)
        elif kind is int and SMALLEST <= value <= LARGEST:
            return types.int32, np.int32(value)
        found: tuple[Any, Any] = original(self, value)
        return found

    return get_type_val


def _infer(original: Any) -> Any:
    def type_value_inference(self: Any, overwrite_output: bool = False) -> None:  # noqa: FBT001, FBT002 - theirs
        value, kind = self.val.val, type(self)
        array = isinstance(value, np.ndarray)
        own = kind.type_inference is Const.type_inference and kind.value_inference is Const.value_inference
        if not own or not (value.dtype.type in KEPT if array else type(value) in SCALARS):
            original(self, overwrite_output)
        elif self._output_vars is None:
            builtin, value = self._get_type_val(value)
            made = builtin()
            made.val = value
            self._output_vars = [Var(self.name, builtin, made, op=self, op_output_idx=0)]
        elif overwrite_output and array and self._output_vars[0].sym_val is value:
            self._output_vars[0]._sym_type = self.type_inference()  # noqa: SLF001 - the only change the original makes
        else:
            original(self, overwrite_output)

    return type_value_inference
