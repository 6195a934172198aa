"""The steps of a model's work: announced, timed, and watched for the memory they take."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, TypeVar

from harness.workers.memory import resident_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

    Result = TypeVar("Result")

TICK_SECONDS = 0.02
"""How often memory is looked at: a weight of 100 MB is copied in as long."""

SHOWN = ("export", "convert", "compress", "load", "execute")
"""Steps that a record names, in their order."""


class Steps:
    """Wall time and peak resident memory of this process, by step.

    Parameters
    ----------
    announce: told each step before it begins.
    """

    def __init__(self, announce: Callable[[str], None]) -> None:
        self.say = announce
        self._seconds: dict[str, float] = {}
        self._peaks: dict[str, int] = {}

    def do(self, title: str, work: Callable[[], Result], name: str = "") -> Result:
        """Announce and time a piece of work, under its title or a name."""
        self.say(title)
        return self.time(name or title, work)

    def time(self, name: str, work: Callable[[], Result]) -> Result:
        """Time a piece of work; one that fails has no time."""
        begin = time.perf_counter()
        with _Watch() as watch:
            result = work()
        self._seconds[name], self._peaks[name] = time.perf_counter() - begin, watch.peak_bytes
        return result

    def same(self, name: str, other: str) -> None:
        """Give a step the figures of another, whose result it takes."""
        self._seconds[name], self._peaks[name] = self._seconds[other], self._peaks[other]

    def forget(self, *names: str) -> None:
        """Take steps out that the next case may not have."""
        for name in names:
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
    """Looks at this process's memory every so often for as long as a ``with`` block lasts."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak_bytes = 0
        self._over = threading.Event()

    def __enter__(self) -> Self:
        self._look()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()
        self._look()

    def run(self) -> None:
        """Look until it is over."""
        while not self._over.wait(TICK_SECONDS):
            self._look()

    def _look(self) -> None:
        self.peak_bytes = max(self.peak_bytes, resident_bytes(os.getpid(), below=False))
