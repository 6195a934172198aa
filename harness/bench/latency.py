r"""Measure the latency of several programs alternately in one process, after a warm-up, with two clocks.

Machines drift: clocks rise and fall with heat, other work comes and goes. If programs are measured one after the other,
that drift looks like a difference. Here they take turns in palindromic blocks, A B B A for two and A B C C B A for
three: within a block, a linear change adds the same to each.

The parts are the first predict, the warm-up (until stable, bounded), the burst, and, if asked for, a sustained
stretch after it. Each predict has a wall time and, where the framework measures itself, its own time without Python.
"""

from __future__ import annotations

import itertools
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from harness.system import collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

T = TypeVar("T")

WINDOW = 8
"""Number of predicts per side in a window; the medians of successive windows are compared."""
STABLE = 0.05
"""A side is warm once the medians of two successive windows differ by less than this share."""
WARM_UP_PREDICTS = 8 * WINDOW
WARM_UP_SECONDS = 20.0
"""Bounds at which the warm-up ends even if it is not stable; the rows then say so."""
FEWEST = 10
"""Least number of samples per side in a burst, however long they take."""


@dataclass(frozen=True, slots=True)
class Side:
    """One of the programs measured together."""

    name: str
    predict: Callable[[], object]
    """Predict once, on the same inputs each time."""
    framework: Callable[[], float | None]
    """The framework's own duration of the last predict, in seconds, if it measures any."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One predict."""

    side: int
    wall_s: float
    framework_s: float | None


@dataclass(frozen=True, slots=True)
class Warmth:
    """The end of the warm-up."""

    samples: list[Sample]
    stable: bool


def alternately(sides: Sequence[T]) -> Iterator[T]:
    """Yield the sides endlessly, in palindromic blocks: A B B A, A B B A, ..."""
    return itertools.cycle([*sides, *reversed(sides)])


class Stopwatch:
    """Take samples of sides in turn.

    Parameters
    ----------
    sides: measured together.
    clock: seconds, monotonic.
    note: called with the index of the side whose predict is about to begin, and with -1 after it, so that its reader
        knows which side ended the process.
    """

    def __init__(
        self,
        sides: Sequence[Side],
        clock: Callable[[], float] = time.perf_counter,
        note: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.sides, self._clock, self._note = sides, clock, note

    def sample(self, index: int) -> Sample:
        """Predict once."""
        side, clock = self.sides[index], self._clock
        predict = side.predict
        self._note(index)
        begin = clock()
        predict()
        end = clock()
        framework = side.framework()
        self._note(-1)
        return Sample(index, end - begin, framework)

    def warm_up(self) -> Warmth:
        """Predict alternately until every side is stable, or the bounds are reached."""
        taken: list[Sample] = []
        windows: list[list[float]] = [[] for _ in self.sides]
        begin, order = self._clock(), alternately(range(len(self.sides)))
        while len(taken) < WARM_UP_PREDICTS * len(self.sides) and self._clock() - begin < WARM_UP_SECONDS:
            for index in itertools.islice(order, 2 * len(self.sides)):
                taken.append(self.sample(index))
                windows[index].append(taken[-1].wall_s)
            if all(map(is_stable, windows)):
                return Warmth(taken, stable=True)
        return Warmth(taken, stable=False)

    def blocks(self, enough: Callable[[int, float], bool]) -> Iterator[list[Sample]]:
        """Yield blocks of alternate samples until ``enough(samples a side, seconds)``."""
        indexes = list(range(len(self.sides)))
        block = [*indexes, *reversed(indexes)]
        begin, count = self._clock(), 0
        while not enough(count, self._clock() - begin):
            yield [self.sample(index) for index in block]
            count += 2

    def burst(self, samples: int, seconds: float) -> Iterator[list[Sample]]:
        """Yield blocks until each side has ``samples``, or, with at least :data:`FEWEST`, ``seconds`` are over."""
        with collector.paused(collect=True):
            yield from self.blocks(lambda count, past: count >= samples or (count >= FEWEST and past >= seconds))

    def sustained(self, seconds: float) -> Iterator[list[Sample]]:
        """Yield blocks for some seconds."""
        yield from self.blocks(lambda _count, past: past >= seconds)


def is_stable(times: Sequence[float]) -> bool:
    """Return whether the last two windows have the same median, within :data:`STABLE`."""
    if len(times) < 2 * WINDOW:
        return False
    before, now = (statistics.median(part) for part in (times[-2 * WINDOW : -WINDOW], times[-WINDOW:]))
    return abs(now - before) <= STABLE * before
