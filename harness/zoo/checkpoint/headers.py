"""Read the headers of safetensors files, and recognise other kinds of files by their first bytes.

A safetensors file consists of the length of its header (8 bytes, little endian), the header (JSON: each tensor's
element type, shape and place), and the tensors' bytes without gaps. Only headers are read here, so a folder of many
gigabytes takes milliseconds. Source: https://github.com/huggingface/safetensors, "Format".
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

from harness.errors import CheckpointError
from harness.system.text import is_unicode
from harness.zoo.checkpoint.first_bytes import is_text, told
from harness.zoo.checkpoint.reading import first_line

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

LIMIT_BYTES = 100_000_000
"""Largest header in bytes, which is safetensors' own limit."""
BITS = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 16),
    **dict.fromkeys(("I32", "U32", "F32"), 32),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 64),
    "F4": 4,
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
}
"""Number of bits of an element, by its type's name in the header."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of a header."""

    dtype: str
    """Element type as the header names it, such as ``BF16``."""
    shape: tuple[int, ...]
    path: Path
    """The file that contains it."""
    begin: int
    """Offset of its first byte in the file."""
    end: int
    """Offset after its last byte."""


def read(source: str, path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file, by name.

    Raises
    ------
    CheckpointError: naming the source and the file, if the file is of another kind, truncated or damaged.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            start = stream.read(512)
            length = int.from_bytes(start[:8], "little")
            if instead := _other_kind(start, length):
                raise CheckpointError(f"{source}: {path.name}: {instead}")
            if length > LIMIT_BYTES or 8 + length > size:
                raise CheckpointError(
                    f"{source}: {path.name}: truncated or damaged: its header of {length:,} bytes does not fit"
                )
            stream.seek(8)
            header = stream.read(length)
    except OSError as error:
        raise CheckpointError(f"{source}: {path.name}: cannot be read: {error.strerror}") from None
    try:
        entries = json.loads(header, object_pairs_hook=_once)
        entries.pop("__metadata__", None)
        return _tensors(entries, path, 8 + length, size)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{source}: {path.name}: truncated or damaged: {first_line(error)}") from None


def _other_kind(start: bytes, length: int) -> str:
    """Return the kind of a file that cannot be safetensors, by its first bytes; "" if it can be.

    A header's length may have the bytes of another kind's mark: 640 those of a pickle, 15,392 those of a page.
    """
    if length <= LIMIT_BYTES and start[8:9] == b"{":
        return ""
    kind = "JSON text" if start[:1] == b"{" else "text" if is_text(start) else ""
    return told(start) or (f"{kind}, not weights: download it again" if kind else "")


def _once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"its header names {name!r} twice")
        found[name] = value
    return found


def _tensors(entries: dict[str, Any], path: Path, start: int, size: int) -> dict[str, Tensor]:
    """Check that the tensors fill a file of ``size`` bytes from ``start`` to its end without gap or overlap."""
    found = {}
    for name, entry in entries.items():
        if not is_unicode(name):
            raise ValueError(f"the name {name!r} is no text")
        begin, end = entry["data_offsets"]
        dtype, shape = entry["dtype"], tuple(entry["shape"])
        if dtype not in BITS:
            raise ValueError(f"{name!r} has the unknown element type {dtype!r}")
        if not all(type(one) is int and one >= 0 for one in (*shape, begin, end)):
            raise ValueError(f"{name!r} has the shape {list(shape)} at [{begin}, {end}]")
        if 8 * (end - begin) != BITS[dtype] * prod(shape):
            raise ValueError(f"{name!r} of shape {list(shape)} takes {end - begin:,} bytes")
        found[name] = Tensor(dtype, shape, path, start + begin, start + end)
    at = start
    for name, tensor in sorted(found.items(), key=lambda item: (item[1].begin, item[1].end)):
        if tensor.begin != at:
            raise ValueError(f"{name!r} begins at byte {tensor.begin:,}, the tensor before ends at {at:,}")
        at = tensor.end
    if at != size:
        raise ValueError(f"it has {size:,} bytes, its header says {at:,}")
    return found
