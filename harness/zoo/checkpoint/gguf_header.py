"""Read the header of a GGUF file: its keys, and the places of its tensors. The weights are not read.

The format is https://github.com/ggml-org/ggml/blob/master/docs/gguf.md: magic, version, counts, key-value pairs, tensor
infos, then the aligned tensor data. Every length is checked against the file's size before it is used, so refusing a
truncated or damaged file takes time and memory bounded by its true size.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

from harness.errors import CheckpointError

if TYPE_CHECKING:
    from pathlib import Path

MAGIC = b"GGUF"
VERSIONS = (2, 3)
STRING, ARRAY = 8, 9
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""Formats of value types for :mod:`struct`, by number; ``STRING`` and ``ARRAY`` are the other types."""

MOST_DIMENSIONS = 4
LONGEST_TEXT_BYTES = 1 << 20
"""Largest length of a key or a single text in bytes; a chat template has some kilobytes."""

ALIGNMENT = 32
"""Alignment of the tensor data in bytes, unless the key ``general.alignment`` gives another."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of the file."""

    name: str
    dimensions: tuple[int, ...]
    """Sizes of its axes, the innermost first, as in GGUF."""
    kind: int
    """Its type, as the number of a ``gguf.GGMLQuantizationType``."""
    offset: int
    """Its offset in bytes from the beginning of the tensor data."""


@dataclass(frozen=True, slots=True)
class Header:
    """The contents of a GGUF file before its tensor data."""

    keys: dict[str, Any]
    """Values by key; for an array, only its length."""
    tensors: tuple[Tensor, ...]
    data_offset: int
    """Offset of the tensor data in bytes."""
    size_bytes: int
    """Size of the whole file in bytes."""
    alignment: int
    """Alignment of the tensor data in bytes."""
    short: bytes
    """The bytes before the tensor data without the tokenizer's arrays, which are most of them."""

    def write_short(self, path: Path) -> None:
        """Write a GGUF file of the same keys and tensors without the tokenizer's arrays; its data are a hole of zeros.

        transformers reads a configuration from it in a hundredth of the time.
        """
        with path.open("wb") as stream:
            stream.write(self.short)
            stream.truncate(_aligned(len(self.short), self.alignment) + self.size_bytes - self.data_offset)


def read_header(path: Path) -> Header:
    """Return the header of a GGUF file.

    Raises
    ------
    CheckpointError: in one line, for a file that is not a GGUF file, or is truncated or damaged.
    """
    try:
        with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return _Reader(path, content).header()
    except (OSError, ValueError) as error:  # mmap refuses an empty file with ValueError
        raise CheckpointError(f"{path}: cannot be read: {error}") from None


def _aligned(offset: int, alignment: int) -> int:
    return -(-offset // alignment) * alignment


class _Reader:
    """A position in the file."""

    def __init__(self, path: Path, content: mmap.mmap) -> None:
        self._path, self._content, self._at, self._size = path, content, 0, len(content)

    def header(self) -> Header:
        if self._content[:4] != MAGIC:
            raise CheckpointError(f"{self._path}: not a GGUF file: it does not begin with {MAGIC.decode()}")
        self._at = 4
        version = self._number("I")
        if version not in VERSIONS:
            raise self._damaged(f"version {version}, known are {' and '.join(map(str, VERSIONS))}")
        tensors, pairs = self._number("Q"), self._number("Q")
        self._check_count(tensors, "tensors", 24)
        self._check_count(pairs, "keys", 13)
        keys: dict[str, Any] = {}
        kept: list[bytes] = []
        for _ in range(pairs):
            begin, name = self._at, self._text()
            kind = self._number("I")
            keys[name] = self._value(kind, name)
            if kind != ARRAY or not name.startswith("tokenizer."):
                kept.append(self._content[begin : self._at])
        begin = self._at
        infos = tuple(self._tensor() for _ in range(tensors))
        if len({info.name for info in infos}) != len(infos):
            raise self._damaged("two tensors have one name")
        alignment = keys.get("general.alignment", ALIGNMENT)
        if not isinstance(alignment, int) or not 1 <= alignment <= 1 << 20:
            raise self._damaged(f"general.alignment is {alignment!r}")
        counts = struct.pack("<IQQ", version, tensors, len(kept))
        short = b"".join((MAGIC, counts, *kept, self._content[begin : self._at]))
        return Header(keys, infos, _aligned(self._at, alignment), self._size, alignment, short)

    def _tensor(self) -> Tensor:
        name, count = self._text(), self._number("I")
        if not 1 <= count <= MOST_DIMENSIONS:
            raise self._damaged(f"tensor {name!r} has {count} dimensions")
        dimensions = tuple(self._number("Q") for _ in range(count))
        if not 0 < prod(dimensions) <= self._size * 64:
            raise self._damaged(f"tensor {name!r} has the shape {dimensions}, more than the file can hold")
        return Tensor(name, dimensions, self._number("I"), self._number("Q"))

    def _value(self, kind: int, name: str) -> Any:
        if kind == STRING:
            return self._text()
        if kind == ARRAY:
            return self._skip_array(name)
        if kind not in SCALARS:
            raise self._damaged(f"key {name!r} has a value of the unknown type {kind}")
        return self._number(SCALARS[kind])

    def _skip_array(self, name: str) -> int:
        """Skip an array and return its length."""
        kind: int = self._number("I")
        length: int = self._number("Q")
        if kind in SCALARS:
            width = struct.calcsize(SCALARS[kind])
            self._check_count(length, f"elements of {name!r}", width)
            self._at += length * width
        elif kind == STRING:
            self._check_count(length, f"texts of {name!r}", 8)
            for _ in range(length):
                text = self._text_length()
                self._at += text
        else:
            raise self._damaged(f"key {name!r} is an array of the unknown type {kind}")
        return length

    def _text_length(self) -> int:
        length: int = self._number("Q")
        if length > LONGEST_TEXT_BYTES or self._at + length > self._size:
            raise self._damaged(f"a text of {length:,} bytes at byte {self._at:,}")
        return length

    def _text(self) -> str:
        length = self._text_length()
        try:
            text = self._content[self._at : self._at + length].decode()
        except UnicodeDecodeError:
            raise self._damaged(f"a text at byte {self._at:,} is not UTF-8") from None
        self._at += length
        return text

    def _number(self, form: str) -> Any:
        form = f"<{form}"
        width = struct.calcsize(form)
        if self._at + width > self._size:
            raise CheckpointError(f"{self._path}: truncated: its header goes on past its {self._size:,} bytes")
        (value,) = struct.unpack_from(form, self._content, self._at)
        self._at += width
        return value

    def _check_count(self, count: int, what: str, least_bytes: int) -> None:
        if count * least_bytes > self._size - self._at:
            raise self._damaged(f"{count:,} {what} do not fit into its {self._size:,} bytes")

    def _damaged(self, detail: str) -> CheckpointError:
        return CheckpointError(f"{self._path}: not a whole GGUF file: {detail}")
