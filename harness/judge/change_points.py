"""Find the change points of a series over nights: the nights since which it is at another level.

Nights vary by themselves, and some are far off, so no night is judged by its neighbour alone. There are three
detectors, since each misses changes that the others find:

A fit of a piecewise constant function (:mod:`harness.judge.step_fit`) finds several steps at once and rarely a false
one, but it needs many nights to accept a small step among noisy ones. It would take a single night far off for two
steps, so such nights are first replaced by their neighbours' median (Hampel's filter).

A scan of ranks fills the gap: for each night, it computes Mann and Whitney's standardised statistic of the nights
before against those from it on, and compares the largest value with the value that shuffled nights reach
(:data:`CRITICAL`). Nights that are far off do not affect ranks, and the rate of false alarms is known for any
distribution of the noise.

The last few nights are too few for either if the step is small. They are a level of their own if all of them, or all
but one of four or more, lie beyond :data:`FAR` standard deviations of the nights before, on one side.

A step counts if it is at least :data:`LEAST_NIGHTS` nights from the next one and larger than the floor.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.judge.stats import midranks
from harness.judge.step_fit import steps

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Array = npt.NDArray[np.floating[Any]]

FLOOR = 0.02
"""Steps below this share are not reported: medians of nights move by as much without any change of the program."""
LEAST_NIGHTS = 3
"""Least number of nights on a level."""
FEWEST = 10
"""Series of fewer nights have no change points."""
FEWEST_BEFORE = 8
"""Least number of nights before the last ones, for a comparison with them."""
RECENT = 10
"""Largest number of nights at the end that are tested as a level of their own; the scan of ranks finds longer ones."""
FAR = 2.75
"""Standard deviations, estimated from the median absolute deviation of the nights before, for normal noise."""

CRITICAL = {
    12: (2.717, 2.882), 16: (2.910, 3.123), 24: (3.045, 3.396), 32: (3.128, 3.472), 48: (3.262, 3.619),
    64: (3.331, 3.735), 96: (3.400, 3.821), 128: (3.463, 3.864), 192: (3.511, 3.897), 256: (3.556, 3.980),
    512: (3.618, 4.024), 1024: (3.663, 4.132),
}  # fmt: skip
"""By number of nights, the values that the largest statistic of shuffled nights exceeds once in 100 and once in 500
times, by simulation. The first is the threshold for a closer look; beyond the second a change is accepted."""
LOOK, BELIEVE = 0, 1


def change_points(values: Sequence[float], floor: float = FLOOR) -> list[int]:
    """Return the index of the first night of each new level, in order.

    Parameters
    ----------
    values: one finite number a night, oldest first, all of one sign.
    floor: least size of a step, as a share of the level before it.
    """
    return change_points_of([values], floor)[0]


def change_points_of(many: Sequence[Sequence[float]], floor: float = FLOOR) -> list[list[int]]:
    """Return the change points of each of many series; those of one length are screened together."""
    found: list[list[int]] = [[] for _ in many]
    by_length: dict[int, list[int]] = {}
    for index, values in enumerate(many):
        if len(values) >= FEWEST:
            by_length.setdefault(len(values), []).append(index)
    for indices in by_length.values():
        series = np.asarray([many[index] for index in indices], dtype=float)
        for row in np.flatnonzero(_doubtful(series, floor)):
            found[indices[row]] = _closer(series[row], floor)
    return found


def _closer(series: Array, floor: float) -> list[int]:
    """Return the change points of one series that passed the screening."""
    found = steps(_hampel(series))
    found = sorted({*found, *_scan(series, found)})
    start = found[-1] if found else 0
    recent = int(_recent(series[None, start:])[0])
    return _levels(series, [*found, len(series) - recent] if recent else found, floor)


def _hampel(series: Array, reach: int = 3, limit: float = 4.0) -> Array:
    """Return the series in which nights far from their neighbours are replaced by the neighbours' median.

    Parameters
    ----------
    reach: nights on each side that count as neighbours.
    limit: distance that counts as far, in standard deviations estimated from the median absolute deviation.
    """
    padded = np.concatenate([np.full(reach, np.nan), series, np.full(reach, np.nan)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1)
    middle = np.nanmedian(windows, axis=1)
    spread = 1.4826 * np.nanmedian(np.abs(windows - middle[:, None]), axis=1)
    overall = 1.4826 * np.median(np.abs(np.diff(series))) / np.sqrt(2)
    far = np.abs(series - middle) > limit * np.maximum(spread, overall)
    return np.where(far, middle, series)


def _recent(series: Array) -> npt.NDArray[np.intp]:
    """Return, row by row, how many of the last nights are a level of their own; 0 if none are.

    Among several such numbers of nights, the one that separates the nights best by absolute deviations is chosen.
    """
    rows, n = series.shape
    most = np.zeros(rows, dtype=int)
    least = np.full(rows, np.inf)
    for nights in range(LEAST_NIGHTS, min(RECENT, n - FEWEST_BEFORE) + 1):
        before, last = series[:, :-nights], np.sort(series[:, -nights:], axis=1)
        level = np.median(before, axis=1)
        spread = 1.4826 * np.median(np.abs(before - level[:, None]), axis=1)
        spare = int(nights > LEAST_NIGHTS)
        beyond = (last[:, spare] > level + FAR * spread) | (last[:, -1 - spare] < level - FAR * spread)
        cost = np.abs(before - level[:, None]).sum(axis=1)
        cost += np.abs(last - np.median(last, axis=1)[:, None]).sum(axis=1)
        better = beyond & (cost < least)
        most[better], least[better] = nights, cost[better]
    return most


def _doubtful(series: Array, floor: float) -> npt.NDArray[np.bool_]:
    """Return, row by row, whether some stretch of nights (all, or a half, a quarter ...) looks like two levels."""
    n = series.shape[1]
    doubtful = _apart(series, floor)
    if n < 24:
        return doubtful  # too few nights for ranks to show a short level; the fit is quick on them
    left = np.flatnonzero(doubtful)
    doubtful[:] = False
    doubtful[left] = _recent(series[left]) > 0
    left = left[~doubtful[left]]
    length = n
    while length >= 12 and left.size:
        for start in {*range(0, n - length, length // 2), n - length}:
            doubtful[left] |= _two_levels(series[left, start : start + length], floor)
        left = left[~doubtful[left]]
        length //= 2
    return doubtful


def _apart(series: Array, floor: float) -> npt.NDArray[np.bool_]:
    """Return, row by row, whether the medians of the shortest levels are ever further apart than the floor."""
    windows = np.lib.stride_tricks.sliding_window_view(series, LEAST_NIGHTS, axis=1)
    middle = np.sort(windows, axis=2)[:, :, LEAST_NIGHTS // 2]
    apart: npt.NDArray[np.bool_] = np.ptp(middle, axis=1) > floor * np.abs(middle).min(axis=1)
    return apart


def _two_levels(series: Array, floor: float) -> npt.NDArray[np.bool_]:
    """Return, row by row, whether the largest rank statistic justifies a closer look, and separates two levels."""
    ranks = series.argsort(axis=1, kind="stable").argsort(axis=1) + 1.0  # ties by night: rather too many candidates
    largest, sizes = _largest(ranks)
    look = largest > _critical(series.shape[1], LOOK)
    for row in np.flatnonzero(look):
        before, after = np.median(series[row, : sizes[row]]), np.median(series[row, sizes[row] :])
        # A level that covers half of a stretch's part moves its median; half the floor leaves room for it.
        look[row] = abs(after - before) > floor / 2 * abs(before)
    return look


def _scan(series: Array, known: list[int]) -> list[int]:
    """Return the change points that the scan of ranks finds in the stretches between known ones."""
    edges = [0, *known, len(series)]
    found: list[int] = []
    for start, end in pairwise(edges):
        found += _split(series, start, end)
    return found


def _split(series: Array, start: int, end: int) -> list[int]:
    if end - start < 12:
        return []
    (largest,), (size,) = _largest(midranks(series[None, start:end]))
    if largest <= _critical(end - start, BELIEVE):
        return []
    at = start + int(size)
    return [*_split(series, start, at), at, *_split(series, at, end)]


def _largest(ranks: Array) -> tuple[Array, npt.NDArray[np.intp]]:
    """Return, row by row, the largest standardised rank sum of the first nights, and how many nights these are."""
    n = ranks.shape[1]
    size = np.arange(LEAST_NIGHTS, n - LEAST_NIGHTS + 1)
    variance = ranks.var(axis=1, ddof=1, keepdims=True)  # n (n + 1) / 12 without ties, less with them
    deviation = np.abs(np.cumsum(ranks, axis=1)[:, size - 1] - size * (n + 1) / 2)
    statistic = deviation / np.sqrt(np.maximum(size * (n - size) / n * variance, 1e-300))
    best = statistic.argmax(axis=1)
    return np.take_along_axis(statistic, best[:, None], axis=1)[:, 0], size[best]


def _critical(nights: int, level: int) -> float:
    """Return the critical value for a number of nights, linear in its logarithm between those simulated."""
    return float(np.interp(np.log(nights), np.log(list(CRITICAL)), [pair[level] for pair in CRITICAL.values()]))


def _levels(series: Array, points: list[int], floor: float) -> list[int]:
    """Return the points between levels that are long and far apart enough; the smallest step is dropped first."""
    points = list(points)
    while points:
        edges = [0, *points, len(series)]
        levels = [float(np.median(series[a:b])) for a, b in pairwise(edges)]
        lengths = np.diff(edges)
        shares = [abs(after - before) / abs(before) if before else np.inf for before, after in pairwise(levels)]
        short = [min(lengths[i], lengths[i + 1]) < LEAST_NIGHTS for i in range(len(points))]
        least = min(range(len(points)), key=lambda i: (not short[i], shares[i]))
        if not short[least] and shares[least] > floor:
            break
        del points[least]
    return points
