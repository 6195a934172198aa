"""The steps of a case: each is announced and timed, and its memory is sampled."""

from __future__ import annotations

import os
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from harness.workers.memory import resident_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from typing_extensions import Self

TICK_SECONDS = 0.02
"""Interval at which memory is read, in seconds; copying a weight of 100 MB takes as long."""

SHOWN = ("export", "convert", "compress", "load", "execute")
"""The steps that a record names, in their order."""


class Steps:
    """Wall time and peak resident memory of this process, by step; one object a case.

    Parameters
    ----------
    announce: called with the title of each step before it begins.
    """

    def __init__(self, announce: Callable[[str], None]) -> None:
        self.say = announce
        self._seconds: dict[str, float] = {}
        self._peaks: dict[str, int] = {}

    @contextmanager
    def timed(self, name: str, title: str = "") -> Iterator[None]:
        """Time a ``with`` block as a step, announced by its title if it has one; a block that fails has no time."""
        if title:
            self.say(title)
        begin = time.perf_counter()
        with _Watch() as watch:
            yield
        self._seconds[name], self._peaks[name] = time.perf_counter() - begin, watch.peak_bytes

    def same(self, name: str, other: str) -> None:
        """Give a step the figures of another step, whose result it takes."""
        self._seconds[name], self._peaks[name] = self._seconds[other], self._peaks[other]

    def include(self, others: Steps) -> None:
        """Take over the figures of steps that several cases share."""
        self._seconds |= others._seconds
        self._peaks |= others._peaks

    def forget(self, name: str) -> None:
        """Remove a step that came to nothing."""
        self._seconds.pop(name, None)
        self._peaks.pop(name, None)

    def seconds(self) -> dict[str, float]:
        """Return the wall time of the steps that a record names, in seconds."""
        return {name: self._seconds[name] for name in SHOWN if name in self._seconds}

    def figures(self) -> dict[str, dict[str, float] | dict[str, int]]:
        """Return ``seconds`` and ``peak_memory_bytes`` of a record."""
        return {
            "seconds": self.seconds(),
            "peak_memory_bytes": {name: self._peaks[name] for name in SHOWN if name in self._peaks},
        }


class _Watch(threading.Thread):
    """Sample this process's memory at intervals during a ``with`` block."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak_bytes = 0
        self._over = threading.Event()

    def __enter__(self) -> Self:
        self._read()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()
        self._read()

    def run(self) -> None:
        """Read the memory until the block ends."""
        while not self._over.wait(TICK_SECONDS):
            self._read()

    def _read(self) -> None:
        self.peak_bytes = max(self.peak_bytes, resident_bytes(os.getpid(), below=False))
