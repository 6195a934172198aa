"""Read weights from a package's blob files, memory-mapped.

Layout of MIL's blob storage, version 2, little-endian (``MILBlob/Blob/StorageFormat.hpp`` in coremltools)::

    file header, 64 bytes:   uint32 blob count, uint32 version (2), reserved
    at each blob's offset:   uint32 sentinel 0xDEADBEEF, uint32 data type, uint64 size in bytes,
                             uint64 offset of the data, uint64 padding in bits, reserved to 64 bytes

A program's ``blobFileValue`` gives the offset of that metadata. Elements narrower than a byte are packed from
the least significant bit up, across byte borders.
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING

import numpy as np

from harness.errors import PackageError

if TYPE_CHECKING:
    from pathlib import Path

    from harness.interpreter.dtypes import DType

HEADER = struct.Struct("<II")
METADATA = struct.Struct("<IIQQQ")
METADATA_BYTES = 64
SENTINEL = 0xDEADBEEF
VERSION = 2


class BlobFile:
    """One weights file, mapped copy-on-write: a page is read when an op first touches it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise PackageError(f"{path}: the weights file is missing")
        self.size_bytes = path.stat().st_size
        if self.size_bytes < METADATA_BYTES:
            raise PackageError(f"{path}: truncated: {self.size_bytes} bytes do not hold the header")
        self.map = np.memmap(path, np.uint8, "c")
        _, version = HEADER.unpack_from(self.map[: HEADER.size].tobytes())
        if version != VERSION:
            raise PackageError(f"{path}: blob storage version {version}; only version {VERSION} is known")

    def read(self, offset: int, dtype: DType, shape: tuple[int, ...]) -> np.ndarray:
        """Return the blob whose metadata is at ``offset``, as a view of the file where its type allows.

        Raises
        ------
        PackageError: when the file ends before the blob does, or there is no blob at the offset.
        """
        count = math.prod(shape)
        needed = math.ceil(count * dtype.bits / 8) if dtype.bits != 1 or dtype.kind != "bool" else count
        if offset + METADATA_BYTES > self.size_bytes:
            raise PackageError(f"{self.path}: truncated: no blob at {offset}, the file has {self.size_bytes} bytes")
        sentinel, _, size_bytes, start, _ = METADATA.unpack(self.map[offset : offset + METADATA.size].tobytes())
        if sentinel != SENTINEL:
            raise PackageError(f"{self.path}: corrupted: no blob starts at {offset}")
        if start + size_bytes > self.size_bytes:
            raise PackageError(
                f"{self.path}: truncated: a blob ends at {start + size_bytes}, the file has {self.size_bytes} bytes"
            )
        if size_bytes < needed:
            raise PackageError(
                f"{self.path}: corrupted: the blob at {offset} has {size_bytes} bytes, "
                f"{dtype.name}{list(shape)} needs {needed}"
            )
        return decode(self.map[start : start + needed], dtype, shape)


def decode(data: np.ndarray, dtype: DType, shape: tuple[int, ...]) -> np.ndarray:
    """Interpret bytes as elements of ``dtype``, unpacking those narrower than a byte."""
    if dtype.bits < 8 and dtype.kind != "bool":
        return unpack(data, dtype.bits, math.prod(shape), signed=dtype.kind == "int").reshape(shape)
    array: np.ndarray = data.view(dtype.numpy)
    return array.reshape(shape)


def unpack(data: np.ndarray, bits: int, count: int, *, signed: bool = False) -> np.ndarray:
    """Unpack ``count`` fields of ``bits`` bits, least significant first, into one byte each.

    Parameters
    ----------
    data: uint8 array of at least ``ceil(count * bits / 8)`` bytes.
    bits: 1 to 8.
    count: how many fields to take.
    signed: whether a field is two's complement.
    """
    data = data.reshape(-1)
    if bits == 8:
        fields = data[:count].copy()
    elif 8 % bits == 0:
        per_byte = 8 // bits
        fields = np.empty((data.size, per_byte), np.uint8)
        for i in range(per_byte):
            np.bitwise_and(data >> (i * bits), (1 << bits) - 1, out=fields[:, i])
        fields = fields.reshape(-1)[:count]
    else:
        columns = np.unpackbits(data, bitorder="little")[: count * bits].reshape(count, bits)
        fields = columns @ (1 << np.arange(bits)).astype(np.uint8)
    if not signed:
        return fields
    shift = 8 - bits
    return (fields << shift).view(np.int8) >> shift
