"""Write a package completely before it appears at its path.

A draft is a hidden folder beside the final path. It is removed when the work ends, by an exception too. A process that
is killed leaves its draft behind, never a package; the next draft for the same path removes it. A lock, which the
system releases when a process ends, tells a draft in use from one left behind.
"""

from __future__ import annotations

import fcntl
import glob
import os
import shutil
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

LOCK = "lock"


@contextmanager
def draft(output: Path) -> Iterator[Path]:
    """Yield a path in a hidden folder beside ``output``, for the package to be written and moved from."""
    _remove_left_behind(output)
    folder = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))
    lock = os.open(folder / LOCK, os.O_CREAT | os.O_RDWR)
    try:
        _locks(lock)
        yield folder / "package"
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _remove_left_behind(output: Path) -> None:
    """Remove the drafts for ``output`` of processes that have ended."""
    for folder in output.parent.glob(f".{glob.escape(output.name)}.*"):
        try:
            lock = os.open(folder / LOCK, os.O_RDWR)
        except OSError:
            continue
        try:
            if _locks(lock):
                shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(lock)


def _locks(lock: int) -> bool:
    """Return whether a file is locked by this process now; not if another has locked it."""
    with suppress(OSError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False
