"""Read bfloat16 as float32 while a model is converted.

MIL has no bfloat16, and coremltools 9.0 refuses a module that holds it: "Got unsupported ScalarType BFloat16" for a
traced one, ``KeyError: torch.bfloat16`` for an exported one. float32 represents every bfloat16 exactly, so the weights
do not change; coremltools similarly narrows float64 to float32. The program rounds less than the module: values between
ops are float32, or float16 after coremltools' own cast, where the module keeps 8 bits.

Tensors are widened wherever coremltools turns one into a constant: parameters and buffers
(``TorchConverter._add_const``), and tensors that a module makes in ``forward``, which a trace keeps as values
(``_construct_constant``).

torch is not imported here, because coremltools has imported it if a torch model is converted.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from coremltools.converters.mil.mil import types

from ane_rms.coremltools_patches.guard import Patch, replacing
from ane_rms.coremltools_patches.lending import Loan, loans_to_frontend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


NUMBER = 15
"""TorchScript's number of bfloat16; that of float32 is 6."""

FLOAT32_NUMBER = 6


@contextmanager
def reading_bfloat16() -> Iterator[None]:
    """Read bfloat16 tensors and types as float32 inside a ``with`` block, in this thread."""
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    with replacing([*_tables(torch), *patches()]):
        yield


def _tables(torch: Any) -> list[Loan]:
    from coremltools.converters.mil.frontend.torch import converter  # noqa: F401 - imports the tables

    return loans_to_frontend(
        {
            "NUM_TO_TORCH_DTYPE": {NUMBER: torch.float32},
            "NUM_TO_NUMPY_DTYPE": {NUMBER: np.float32},
            "NUM_TO_DTYPE_STRING": {NUMBER: "fp32"},
            "TORCH_DTYPE_TO_NUM": {torch.bfloat16: FLOAT32_NUMBER},
            "TORCH_DTYPE_TO_MIL_DTYPE": {torch.bfloat16: types.fp32},
        }
    )


def patches() -> list[Patch]:
    """Return the replacements of the two functions that make constants of tensors."""
    from coremltools.converters.mil.frontend.torch import ops
    from coremltools.converters.mil.frontend.torch.converter import TorchConverter

    return [
        Patch(
            TorchConverter,
            "_add_const",
            "25c592a6be1b020c",
            _widen_parameter,
            "bfloat16 parameters and buffers are read as float32",
        ),
        Patch(
            ops,
            "_construct_constant",
            "065fbce8ab0de11e",
            _widen_constant,
            "bfloat16 constants of a trace are read as float32",
        ),
    ]


def _widen_parameter(original: Callable[..., None]) -> Callable[..., None]:
    def add_const(self: Any, name: str, val: Any) -> None:
        original(self, name, _widened(val))

    return add_const


def _widen_constant(original: Callable[..., Any]) -> Callable[..., Any]:
    def construct_constant(val: Any, name: str) -> Any:
        return original(_widened(val), name)

    return construct_constant


def _widened(value: Any) -> Any:
    return value.float() if getattr(value, "dtype", None) is sys.modules["torch"].bfloat16 else value
