"""MIL's element types, and how the executor holds each of them.

Values live in torch tensors. torch has no arithmetic for ``uint16``, ``uint32``, ``uint64`` and no sub-byte
types, so those are held in the next wider signed (or the byte) type and wrapped back into range when an op
stores its result; the numpy arrays that leave the executor have the declared type again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from harness.errors import UnsupportedOpError


@dataclass(frozen=True, slots=True)
class DType:
    """One element type of MIL.

    Parameters
    ----------
    name: as MIL's ``cast`` op spells it: ``fp16``, ``int32``, ``bool``, ``string`` ...
    kind: ``float``, ``int``, ``uint``, ``bool`` or ``str``.
    bits: width of one element as the program declares it; 0 for strings.
    storage: the torch type that holds it (ignored for strings).
    numpy: the numpy type that holds it outside the executor, sub-byte types in one byte each.
    """

    name: str
    kind: str
    bits: int
    storage: torch.dtype
    numpy: np.dtype[np.generic]

    @property
    def is_float(self) -> bool:
        """Whether a precision policy applies to it."""
        return self.kind == "float"

    @property
    def bounds(self) -> tuple[int, int]:
        """The smallest and the largest integer of the type."""
        if self.kind == "int":
            return -(1 << (self.bits - 1)), (1 << (self.bits - 1)) - 1
        return 0, (1 << self.bits) - 1


def _table() -> dict[str, DType]:
    rows = [
        ("fp16", "float", 16, torch.float16, np.float16),
        ("fp32", "float", 32, torch.float32, np.float32),
        ("fp64", "float", 64, torch.float64, np.float64),
        ("bool", "bool", 1, torch.bool, np.bool_),
        ("int4", "int", 4, torch.int8, np.int8),
        ("int8", "int", 8, torch.int8, np.int8),
        ("int16", "int", 16, torch.int16, np.int16),
        ("int32", "int", 32, torch.int32, np.int32),
        ("int64", "int", 64, torch.int64, np.int64),
        ("uint1", "uint", 1, torch.uint8, np.uint8),
        ("uint2", "uint", 2, torch.uint8, np.uint8),
        ("uint3", "uint", 3, torch.uint8, np.uint8),
        ("uint4", "uint", 4, torch.uint8, np.uint8),
        ("uint6", "uint", 6, torch.uint8, np.uint8),
        ("uint8", "uint", 8, torch.uint8, np.uint8),
        ("uint16", "uint", 16, torch.int32, np.uint16),
        ("uint32", "uint", 32, torch.int64, np.uint32),
        ("uint64", "uint", 64, torch.int64, np.uint64),
        ("complex64", "complex", 64, torch.complex64, np.complex64),
        ("complex128", "complex", 128, torch.complex128, np.complex128),
        ("string", "str", 0, torch.uint8, np.str_),
    ]
    return {name: DType(name, kind, bits, storage, np.dtype(array)) for name, kind, bits, storage, array in rows}


DTYPES = _table()


def dtype_named(name: str) -> DType:
    """Return the element type of that name.

    Raises
    ------
    UnsupportedOpError: for a type the executor does not hold, such as bfloat16 or the 8-bit floats.
    """
    if name not in DTYPES:
        raise UnsupportedOpError(f"element type {name!r} is not supported; known: {', '.join(DTYPES)}")
    return DTYPES[name]


def wrap(value: torch.Tensor, dtype: DType) -> torch.Tensor:
    """Bring integers held in a wider torch type back into ``dtype``'s range, modulo two to its width."""
    if dtype.bits == 64 or (dtype.bits == value.element_size() * 8):
        return value
    if dtype.kind == "uint":
        return value & dtype.bounds[1]
    half = 1 << (dtype.bits - 1)
    return ((value + half) & ((1 << dtype.bits) - 1)) - half


def from_numpy(array: np.ndarray, dtype: DType) -> torch.Tensor:
    """Hold a numpy array as a tensor of ``dtype``'s storage type, without a copy where both agree.

    A read-only array is copied, because torch warns about sharing its memory.
    """
    if array.dtype != dtype.numpy:
        array = array.astype(dtype.numpy)
    if dtype.numpy in (np.dtype(np.uint16), np.dtype(np.uint32), np.dtype(np.uint64)):
        array = array.astype(np.int32 if dtype.bits == 16 else np.int64)
    if not array.flags.writeable or any(stride < 0 for stride in array.strides):
        array = array.copy()
    return torch.from_numpy(array)


def to_numpy(value: torch.Tensor, dtype: DType) -> np.ndarray:
    """Return a tensor as a numpy array of the declared type, always a copy that the caller may change."""
    array: np.ndarray = value.detach().numpy()
    with np.errstate(over="ignore"):  # a wide result beyond a float16 output is inf
        return array.astype(dtype.numpy)
