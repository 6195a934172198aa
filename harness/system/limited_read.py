"""Read a file, refusing one above a size limit: files from elsewhere may have any size."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def read(path: Path, limit_bytes: int) -> bytes:
    """Return a file's content.

    Raises
    ------
    OSError: if it cannot be read or is larger than the limit; ``strerror`` says so in words.
    """
    if path.is_fifo():  # a read of it would wait forever
        raise OSError(errno.EINVAL, "a pipe, not a file", str(path))
    with path.open("rb") as stream:
        content = stream.read(limit_bytes + 1)
    if len(content) > limit_bytes:
        raise OSError(errno.EFBIG, f"larger than {limit_bytes:,} bytes, which no such file is", str(path))
    return content
