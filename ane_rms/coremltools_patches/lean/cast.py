"""coremltools' float16 cast, ``common::add_fp16_cast``, without its copies of each weight.

coremltools tests whether each constant has an element ``65504 < |v| < 1e38``. (A larger one is an infinity or
represents one in a mask, and may become float16's infinity.) The test uses ``abs``, a comparison, ``where`` (three
arrays of int64 for a matrix) and indexing. Here the smallest and the largest element of a chunk decide, and only a
chunk in which one of them exceeds the limit is examined element by element.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from coremltools import _logger as logger
from coremltools.converters.mil.mil.passes.defs import quantization
from coremltools.converters.mil.mil.passes.pass_registry import PASS_REGISTRY

from ane_rms.coremltools_patches.guard import digest
from ane_rms.coremltools_patches.lending import Loan
from ane_rms.mapped_arrays import chunks, release

NAME = "common::add_fp16_cast"

LARGEST = np.float32(65504)
"""float16's largest number."""

INFINITE = 1e38
"""coremltools treats numbers of at least this magnitude as infinities."""

CHECKED_ELEMENTS = 400
"""coremltools checks for values that became zero only in arrays below this size."""

KNOWN = {
    "fp16_overflow": "16442a50be56e0f9",
    "_check_underflow_to_zero": "ca65abdf8aafa58d",
    "is_valid_op": "ebb793ee7b891a4c",
}
"""The methods of coremltools that this cast reproduces, by the digest of their source."""


class LeanFP16Cast(quantization.add_fp16_cast):
    """Cast to float16 as ``common::add_fp16_cast`` does, with its options, ``op_selector`` and ``skip_ops_by_type``."""

    def __init__(self, op_selector: Any = None) -> None:
        super().__init__(op_selector)
        self._overflows: dict[int, bool] = {}

    def __str__(self) -> str:
        return "add_fp16_cast"  # the name in the ops' scopes

    def apply(self, prog: Any) -> None:
        """Cast in place."""
        self._overflows.clear()
        super().apply(prog)

    def fp16_overflow(self, op: Any) -> bool:
        """Return whether a float32 constant among the op's inputs has a number beyond float16's range."""
        for given in op.inputs.values():
            for var in given if isinstance(given, (list, tuple)) else (given,):
                if var.op is None or var.op.op_type != "const" or not var.is_tensor_or_scalar_of(dtype="fp32"):
                    continue
                if id(var) not in self._overflows:
                    self._overflows[id(var)] = overflows(np.asarray(var.op.val.val))
                if self._overflows[id(var)]:
                    return True
        return False

    def _check_underflow_to_zero(self, new_var: Any, var: Any) -> None:
        if np.size(var.val) < CHECKED_ELEMENTS:
            super()._check_underflow_to_zero(new_var, var)


def overflows(array: np.ndarray) -> bool:
    """Return whether any element has ``65504 < |v| < 1e38``, which a NaN does not."""
    found = any(_overflows(chunk) for chunk in chunks(array))
    release(array)
    return found


def _overflows(chunk: np.ndarray) -> bool:
    if chunk.size == 0 or (chunk.max() <= LARGEST and chunk.min() >= -LARGEST):
        return False  # a NaN fails both comparisons
    magnitude = np.abs(chunk)
    return bool(((magnitude > LARGEST) & (magnitude < INFINITE)).any())


def loan() -> Loan | None:
    """Return the loan of the lean cast to coremltools' registry of passes, in place of coremltools' cast.

    It has the same name, because ``ct.convert`` sets its options, and removes it for float32, by name. There is no loan
    if another cast is registered, or if coremltools' cast is not the known one.
    """
    if PASS_REGISTRY.passes.get(NAME) not in (quantization.add_fp16_cast, LeanFP16Cast) or not is_known():
        logger.warning(f"ane_rms: {NAME} is not the one known; converting with it as it is")
        return None
    return Loan(PASS_REGISTRY, "passes", {NAME: LeanFP16Cast})


def is_known() -> bool:
    """Return whether coremltools' cast is the one that this one was written for."""
    return all(digest(getattr(quantization.FP16ComputePrecision, name)) == known for name, known in KNOWN.items())
