"""A simulated study of the verdicts: how often a change is told that is none, and one is missed that is.

    python -m tests.bench.regression_study            # whole: a few minutes
    python -m tests.bench.regression_study --short    # a tenth of it

The machine: each sample is off by 0.8 % (normal, of the logarithm), one in twenty is an outlier, later by 30 % on
average (exponential). A session is off by 1.5 %, all that is measured in it alike, and drifts by as much again while
it lasts. The zoo has 40 rows of 0.5 to 50 ms.

A comparison is one session in which base and candidate are measured alternately, 30 samples each. Beside it stands
the rule of pytest-benchmark's ``--benchmark-compare-fail=median:5%`` on the same series, by that package's own code:
once as it is used, against what the session before has saved of the base, and once on the alternating series.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
from pytest_benchmark.utils import PercentageRegressionCheck
from tabulate import tabulate

from harness.judge.change_points import change_points_of
from harness.judge.regress import compare
from harness.records.lookup import Side
from tests.harness.example_records import record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.records.schema import Record

SEED = 20260101
ROWS, SAMPLES, NIGHTS = 40, 30, 60
NOISE, OUTLIERS, LATER, DRIFT = 0.008, 0.05, 0.3, 0.015
SLOWDOWN, STEP, WITHIN = 1.05, 1.04, 10
FAIL = PercentageRegressionCheck("median", 5)

rng_type = np.random.Generator


@dataclass(frozen=True, slots=True)
class Rates:
    """How a method did: shares of comparisons with a false finding, and of slowdowns found."""

    false: float
    found: float


class Session:
    """One session: a level of its own, and a drift that all that is measured in it shares."""

    def __init__(self, rng: rng_type) -> None:
        self._rng = rng
        self._level = rng.normal(0, DRIFT)
        self._slope = rng.normal(0, DRIFT)

    def measure(self, seconds: np.ndarray, samples: int = SAMPLES) -> np.ndarray:
        """Return samples, in seconds, shaped (rows, samples), of programs that take ``seconds`` on a quiet machine."""
        shape = (len(seconds), samples)
        noise = self._rng.normal(0, NOISE, shape)
        late = np.where(self._rng.random(shape) < OUTLIERS, self._rng.exponential(LATER, shape), 0)
        drift = self._level + self._slope * np.linspace(-0.5, 0.5, samples)
        return seconds[:, None] * np.exp(noise + drift) * (1 + late)


def comparisons(count: int, seed: int = SEED) -> dict[str, Rates]:
    """Return the rates of each method over comparisons without a change, and over as many with one row 5 % slower."""
    rng = np.random.default_rng(seed)
    false, found = dict.fromkeys(METHODS, 0), dict.fromkeys(METHODS, 0)
    for _ in range(count):
        seconds = np.exp(rng.uniform(np.log(5e-4), np.log(5e-2), ROWS))
        slow = int(rng.integers(ROWS))
        slower = np.where(np.arange(ROWS) == slow, SLOWDOWN, 1.0)
        saved = Session(rng).measure(seconds)
        for factor in (np.ones(ROWS), slower):
            session = Session(rng)
            base, candidate = session.measure(seconds), session.measure(seconds * factor)
            for name, method in METHODS.items():
                told = method(saved, base, candidate)
                if factor is slower:
                    found[name] += slow in told
                else:
                    false[name] += bool(told)
    return {name: Rates(false[name] / count, found[name] / count) for name in METHODS}


def ours(_saved: np.ndarray, base: np.ndarray, candidate: np.ndarray) -> set[int]:
    """Return the rows that ``harness compare`` calls a regression."""
    verdicts = compare(Side("base", list(_records(base))), Side("candidate", list(_records(candidate))))
    return {int(verdict.model) for verdict in verdicts if verdict.kind == "regression"}


def as_used(saved: np.ndarray, _base: np.ndarray, candidate: np.ndarray) -> set[int]:
    """Return the rows that pytest-benchmark's rule fails against the session before."""
    return _failing(saved, candidate)


def alternating(_saved: np.ndarray, base: np.ndarray, candidate: np.ndarray) -> set[int]:
    """Return the rows that pytest-benchmark's rule fails within the session."""
    return _failing(base, candidate)


METHODS = {
    "harness compare, alternating": ours,
    "pytest-benchmark median:5%, saved session": as_used,
    "pytest-benchmark median:5%, alternating": alternating,
}


def _failing(base: np.ndarray, candidate: np.ndarray) -> set[int]:
    before, now = np.median(base, axis=1), np.median(candidate, axis=1)
    return {row for row in range(len(now)) if FAIL.fails({"median": now[row]}, {"median": before[row]})}


def _records(samples: np.ndarray) -> Iterator[Record]:
    for row, times in enumerate(samples):
        yield record(str(row), executor="coreml", samples={"predict": tuple(times.tolist())}, pair="session")


def nights(count: int, *, off: float = 0.0, seed: int = SEED) -> Rates:
    """Return the shares of flat series of 60 nights with a false alarm, and of 4 % steps found within 10 nights.

    Parameters
    ----------
    count: series of each kind.
    off: share of nights that are 10 to 50 % late as a whole, because something else was running.
    """
    rng = np.random.default_rng(seed)
    flat = [_series(rng, NIGHTS, off) for _ in range(count)]
    stepped, at = [], []
    for _ in range(count):
        # Seen 10 nights after the step, whenever that was: at least 20 nights were before it.
        step = int(rng.integers(20, NIGHTS - WITHIN + 1))
        series = _series(rng, step + WITHIN, off)
        series[step:] *= STEP
        stepped.append(series)
        at.append(step)
    alarms = sum(bool(points) for points in change_points_of(flat))
    found = sum(
        any(abs(point - step) <= WITHIN // 2 for point in points)
        for points, step in zip(change_points_of(stepped), at, strict=True)
    )
    return Rates(alarms / count, found / count)


def _series(rng: rng_type, length: int, off: float) -> np.ndarray:
    """Return a night's median each, of samples in a session of its own."""
    values = np.array([median(Session(rng).measure(np.array([2e-3]))[0]) for _ in range(length)])
    return np.where(rng.random(length) < off, values * rng.uniform(1.1, 1.5, length), values)


HISTORIES = {"as above": 0.0, "and one night in 20 late by 10 to 50 %": 0.05}
"""Share of late nights, by the table's words for it."""


@dataclass(frozen=True, slots=True)
class Study:
    """All rates."""

    comparisons: dict[str, Rates]
    nights: dict[str, Rates]

    @classmethod
    def of(cls, count: int) -> Study:
        """Return the rates of so many comparisons, and series, of each kind."""
        return cls(comparisons(count), {name: nights(count, off=off) for name, off in HISTORIES.items()})

    def tables(self) -> str:
        """Return the tables, as they stand in docs/regressions.md."""
        return "\n\n".join(
            tabulate([[name, f"{one.false:.1%}", f"{one.found:.1%}"] for name, one in rates.items()], headers, "github")
            for headers, rates in (
                (["rule", "comparisons of equals with a regression", "5 % slowdowns found"], self.comparisons),
                (["nights", "flat series with a change", "4 % steps found within 10 nights"], self.nights),
            )
        )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="a tenth of the comparisons")
    count = 100 if parser.parse_args().short else 1000
    print(f"{count} comparisons and series of each kind, seed {SEED}\n\n{Study.of(count).tables()}")  # noqa: T201 - the result


if __name__ == "__main__":
    main()
