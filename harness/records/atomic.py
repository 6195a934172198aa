"""Write files atomically, so that a killed writer leaves either the old content or the new."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from harness.errors import OutputError


def write(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old content or the new, never a part, even if the writer is killed.

    Raises
    ------
    OutputError: if it cannot be written; the old content then remains.
    """
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "wb") as stream:
            os.fchmod(descriptor, 0o666 & ~_umask())
            stream.write(content)
            stream.flush()
            os.fsync(descriptor)
        Path(temporary).replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise OutputError(f"{path}: cannot write: {error.strerror}") from None


def remove(path: Path) -> None:
    """Remove a file if it exists.

    Raises
    ------
    OutputError: if it cannot be removed.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{path}: cannot remove: {error.strerror}") from None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
