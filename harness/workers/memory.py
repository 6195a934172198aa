"""Measure and limit the memory of a process, and recognise the errors that mean memory was refused."""

from __future__ import annotations

import contextlib
import re
import sys
from functools import cache
from pathlib import Path

import psutil

SLACK_BYTES = 2 << 30
"""Private mappings a process may have beyond its limit on resident memory: thread stacks and allocators' reserves."""

_REFUSED = re.compile(
    r"can't allocate memory|unable to allocate|bad_alloc|cannot allocate memory|out of memory", re.IGNORECASE
)


def resident_bytes(pid: int, *, below: bool = True) -> int:
    """Return the resident memory of a process and its descendants, in bytes; 0 once it has exited."""
    total = 0
    with contextlib.suppress(psutil.Error):
        for one in (pid, *(_descendants(pid) if below else ())):
            with contextlib.suppress(psutil.Error):
                total += psutil.Process(one).memory_info().rss
    return total


def _descendants(pid: int) -> list[int]:
    """Return the ids of the processes below a process.

    Linux lists those of each thread. Elsewhere the whole process table is read, which takes milliseconds.
    """
    if not _lists_children():
        return [one.pid for one in psutil.Process(pid).children(recursive=True)]
    found: list[int] = []
    for listed in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # the thread has ended
            found += map(int, listed.read_text().split())
    return found + [below for one in found for below in _descendants(one)]


@cache
def _lists_children() -> bool:
    return Path("/proc/thread-self/children").exists()


def machine_bytes() -> int:
    """Return this machine's physical memory, in bytes."""
    return int(psutil.virtual_memory().total)


def limit_self(memory_bytes: int | None) -> None:
    """Have the system refuse this process allocations far above a limit; None removes the limit.

    The parent watches resident memory and ends a child that exceeds its limit. This second limit catches
    allocations that are faster than the parent's polling. Linux alone counts private mappings (``RLIMIT_DATA``).
    """
    if sys.platform != "linux":
        return
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    soft = hard if memory_bytes is None else memory_bytes + SLACK_BYTES
    if hard != resource.RLIM_INFINITY:
        soft = min(soft, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def is_refusal(error: BaseException | None) -> bool:
    """Return whether an error, or the error it was raised from, means that memory was refused."""
    while error is not None:
        if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and _REFUSED.search(str(error))):
            return True
        error = error.__cause__ or error.__context__
    return False


def text(size_bytes: float) -> str:
    """Return a size as text in decimal units, such as ``1.5 GB``."""
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e8 else f"{size_bytes / 1e6:.0f} MB"
