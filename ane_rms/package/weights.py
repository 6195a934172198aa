"""Read the weights of a package in place.

Layout of MIL's blob storage, version 2, little-endian (``MILBlob/Blob/StorageFormat.hpp`` in coremltools)::

    file header, 64 bytes:   uint32 blob count, uint32 version (2), reserved
    at each blob's offset:   uint32 sentinel 0xDEADBEEF, uint32 data type, uint64 size in bytes,
                             uint64 offset of the data, uint64 padding in bits, reserved to 64 bytes
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
from coremltools.converters.mil.mil import types
from coremltools.optimize._utils import restore_elements_from_packed_bits

from ane_rms.mapped_arrays import CHUNK_ELEMENTS, gathered, mapped, release

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MODEL_FOLDER = "@model_path/"
METADATA = struct.Struct("<IIQQQ")
SENTINEL = 0xDEADBEEF


class Weights:
    """The constants of one package, mapped so that a page is read only when it is accessed."""

    def __init__(self, folder: Path | None, source: str) -> None:
        """Take the folder of the model specification, which ``@model_path`` means, and the package's name in messages.

        A package that exists only as a specification has no folder.
        """
        self._folder = folder
        self._source = source
        self._files: dict[str, Any] = {}

    def value(self, value: Any) -> Any:
        """Return a serialised constant as an array, a number or a string; None for lists and dictionaries.

        Raises
        ------
        ValueError: if the weights file is missing or damaged.
        """
        if value.type.WhichOneof("type") != "tensorType":
            return None
        tensor = value.type.tensorType
        shape = tuple(int(size.constant.size) for size in tensor.dimensions)
        kind = types.PROTO_TO_BUILTIN_TYPE.get(tensor.dataType)
        if kind is None or types.is_sub_byte(kind):
            return None
        if value.WhichOneof("value") == "blobFileValue":
            array = self._blob(value.blobFileValue, kind, shape)
        else:
            given = value.immediateValue.tensor
            if kind == types.str:
                return str(given.strings.values[0]) if given.strings.values and not shape else None
            array = _immediate(given, kind, shape, self._source)
        return array if shape else array[()]

    def stored(self, value: Any) -> Any:
        """Return the array of a serialised constant in the weights file, of any element type; None for any other.

        Elements of fewer than 8 bits are unpacked, each into a byte.

        Raises
        ------
        ValueError: if the weights file is missing or damaged.
        """
        if value.WhichOneof("value") != "blobFileValue" or not value.type.tensorType.dimensions:
            return None
        tensor = value.type.tensorType
        kind = types.PROTO_TO_BUILTIN_TYPE.get(tensor.dataType)
        if kind is None or not types.is_sub_byte(kind):
            return self.value(value)
        shape = tuple(int(size.constant.size) for size in tensor.dimensions)
        count, bits = math.prod(shape), kind.get_bitwidth()
        packed = self._bytes(value.blobFileValue, -(-count * bits // 8))
        dtype = np.dtype(types.nptype_from_builtin(kind))
        made = gathered(_unpacked(packed, count, kind), dtype, shape)
        release(packed)
        return made

    def _blob(self, blob: Any, kind: Any, shape: tuple[int, ...]) -> Any:
        dtype = np.dtype(types.nptype_from_builtin(kind))
        return self._bytes(blob, math.prod(shape) * dtype.itemsize).view(dtype).reshape(shape)

    def _bytes(self, blob: Any, size: int) -> Any:
        file = self._file(blob.fileName)
        at = int(blob.offset)
        if at + METADATA.size > file.size:
            raise ValueError(f"{self._source}: {blob.fileName} is truncated: no constant at {at}")
        sentinel, _, _, start, _ = METADATA.unpack(file[at : at + METADATA.size].tobytes())
        if sentinel != SENTINEL or start + size > file.size:
            raise ValueError(f"{self._source}: {blob.fileName} is damaged: no constant of {size} bytes at {at}")
        return file[start : start + size]

    def _file(self, name: str) -> Any:
        if name not in self._files:
            path = None if self._folder is None else self._folder / name.removeprefix(MODEL_FOLDER)
            if path is None or not path.is_file():
                raise ValueError(f"{self._source}: the weights file {name.removeprefix(MODEL_FOLDER)} is missing")
            with path.open("rb") as file:
                self._files[name] = mapped(file) if path.stat().st_size else np.zeros(0, np.uint8)
        return self._files[name]


def _unpacked(packed: Any, count: int, kind: Any) -> Iterator[Any]:
    """Yield the elements of fewer than 8 bits in ``packed``, which lie without gaps from the lowest bit on."""
    bits, signed = kind.get_bitwidth(), not kind.is_unsigned()
    for start in range(0, count, CHUNK_ELEMENTS):
        part = packed[start * bits // 8 : (start + CHUNK_ELEMENTS) * bits // 8]
        yield restore_elements_from_packed_bits(part, bits, min(CHUNK_ELEMENTS, count - start), signed)


def _immediate(tensor: Any, kind: Any, shape: tuple[int, ...], source: str) -> Any:
    dtype = np.dtype(types.nptype_from_builtin(kind))
    field = tensor.WhichOneof("value")
    try:
        if field is None:
            return np.zeros(shape, dtype)
        values = getattr(tensor, field).values
        made = np.frombuffer(values, dtype) if field == "bytes" else np.array(values).astype(dtype)
        return made.reshape(shape)
    except ValueError as error:
        raise ValueError(f"{source}: a constant is damaged: {error}") from None
