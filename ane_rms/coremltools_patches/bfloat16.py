"""Read bfloat16 as float32 while a model is converted.

MIL has no bfloat16, and coremltools 9.0 refuses a module that holds it: "Got unsupported ScalarType BFloat16" for a
traced one, ``KeyError: torch.bfloat16`` for an exported one. Every bfloat16 is a float32, so the weights are what they
were; coremltools does the same for float64, the other way. The program rounds less than the module: values between
ops are float32, or float16 after coremltools' own cast, where the module keeps 8 bits.

torch itself is not imported here: where a torch model is converted, coremltools has imported it.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from coremltools.converters.mil.mil import types

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NUMBER = 15
"""What TorchScript calls bfloat16; float32 is 6."""

FLOAT32_NUMBER = 6


@contextmanager
def reading_bfloat16() -> Iterator[None]:
    """Have bfloat16 tensors and types read as float32 within a ``with`` block; coremltools' tables are put back."""
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    from coremltools.converters.mil.frontend.torch import utils
    from coremltools.converters.mil.frontend.torch.converter import TorchConverter

    tables: list[tuple[dict[Any, Any], Any, Any]] = [
        (utils.NUM_TO_TORCH_DTYPE, NUMBER, torch.float32),
        (utils.NUM_TO_NUMPY_DTYPE, NUMBER, np.float32),
        (utils.NUM_TO_DTYPE_STRING, NUMBER, "fp32"),
        (utils.TORCH_DTYPE_TO_NUM, torch.bfloat16, FLOAT32_NUMBER),
        (utils.TORCH_DTYPE_TO_MIL_DTYPE, torch.bfloat16, types.fp32),
    ]
    added = [(table, key, value) for table, key, value in tables if key not in table]
    before = TorchConverter._add_const  # noqa: SLF001 - where every parameter and buffer passes
    for table, key, value in added:
        table[key] = value
    TorchConverter._add_const = _widening(before, torch.bfloat16)  # noqa: SLF001
    try:
        yield
    finally:
        TorchConverter._add_const = before  # noqa: SLF001
        for table, key, _ in added:
            del table[key]


def _widening(before: Callable[..., None], bfloat16: Any) -> Callable[..., None]:
    def add_const(self: Any, name: str, value: Any) -> None:
        before(self, name, value.float() if getattr(value, "dtype", None) is bfloat16 else value)

    return add_const
