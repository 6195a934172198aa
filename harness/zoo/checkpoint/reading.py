"""Read a small JSON file of a checkpoint, and the first line of another library's error."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from harness.errors import CheckpointError
from harness.system import limited_read
from harness.system.text import is_unicode
from harness.zoo.checkpoint.first_bytes import told

if TYPE_CHECKING:
    from pathlib import Path

CONFIG_LIMIT_BYTES = 4_000_000
INDEX_LIMIT_BYTES = 32_000_000
"""Largest file that is read; the index of a model of 685 billion parameters has 9 MB."""

TOKENIZER_LIMIT_BYTES = 256_000_000
"""Largest JSON file of a tokenizer that is read; that of Gemma 3 has 33 MB."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, at most 200 characters."""
    text = str(error).strip().splitlines()
    return text[0][:200] if text else type(error).__name__


def read_object(path: Path, limit_bytes: int) -> dict[str, Any]:
    """Return a JSON file's object, refusing a file above a size limit."""
    raw = b""
    try:
        raw = limited_read.read(path, limit_bytes)
        content = json.loads(raw.decode())
        if b"\\ud" in raw.lower() and not is_unicode(json.dumps(content, ensure_ascii=False)):
            raise ValueError("a text in it is no text: half of a character, escaped")  # noqa: TRY301 - as the others
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: not JSON: {told(raw[:512]) or first_line(error)}") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: expected an object, got {type(content).__name__}")
    return content


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, read a chunk at a time."""
    found = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 22):
            found.update(chunk)
    return found.hexdigest()
