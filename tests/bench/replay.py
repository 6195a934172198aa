"""Samples that were measured alternately, given to pytest-benchmark: its own loop can time one side only."""

from __future__ import annotations


class Replay:
    """A timer for pytest-benchmark, ``@pytest.mark.benchmark(timer=...)``, that shows times measured before.

    pytest-benchmark reads its timer before and after each round; every second reading is one sample later.
    """

    def __init__(self) -> None:
        self.__name__ = "replay"
        self._steps = iter(())
        self._now = 0.0

    def __call__(self) -> float:
        """Return the next reading, in seconds."""
        self._now += next(self._steps)
        return self._now

    def into(self, benchmark, samples, **extra) -> None:
        """Have a benchmark take these samples, in seconds, as its rounds; ``extra`` goes to its ``extra_info``."""
        self._steps = iter([step for sample in samples for step in (0.0, sample)])
        self._now = 0.0
        benchmark.extra_info.update(extra)
        benchmark.pedantic(lambda: None, rounds=len(samples), iterations=1)
