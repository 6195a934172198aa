"""Two-sample statistics of times: whether one is slower, by how much, and with what confidence.

There are two designs, and the records say which applies:

*Paired*: base and candidate were measured alternately in one session, sample ``i`` of one beside sample ``i`` of the
other. Drift (heat, clocks, other work) moves both, and cancels in ``r_i = candidate_i / base_i``. The
effect is ``median(r)``. The test is Mann and Whitney's U within blocks of :data:`BLOCK` neighbouring pairs, summed
(van Elteren, 1960): neighbours share the drift, and an outlier costs a block's worth of ranks, where in Wilcoxon's
signed rank the few largest differences, the outliers, weigh most.

*Unpaired*: two sessions. The effect is ``median(candidate) / median(base)``, the test Mann and Whitney's U. Sessions
vary by themselves, so the noise floor is wider; see :mod:`harness.judge.regress`.

The intervals are those of :mod:`harness.judge.median_interval`.

Probabilities of many rows are corrected by Holm's procedure (1979): it bounds the probability of *any* false finding,
and one false row is what makes a comparison false. Benjamini and Hochberg's bounds the share of false ones among
those found, which lets some through in every long table.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from harness.judge import median_interval

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence

    import numpy.typing as npt

    Array = npt.NDArray[np.floating[Any]]

ALPHA = 0.01
"""Largest probability that a comparison without any change shows a significant one in any of its rows."""
FEWEST = 10
"""Below this number of samples a median's interval is hardly narrower than the range of the samples."""


BLOCK = 3
"""Number of pairs that are ranked together. Fewer lose power; more let the session's drift in between them."""


class Samples(NamedTuple):
    """Times of one row, in seconds, in the order measured."""

    base: Sequence[float]
    candidate: Sequence[float]
    paired: bool


class Effect(NamedTuple):
    """The relation of the candidate's time to the base's."""

    ratio: float
    """Candidate over base; above 1 is slower."""
    low: float
    high: float
    """Interval of the ratio, at :data:`harness.judge.median_interval.CONFIDENCE`."""
    p: float
    """Two-sided probability of a difference as large between equals, not corrected for other rows."""
    medians: tuple[float, float]
    """Medians of the base's samples and of the candidate's."""


def effects(rows: Sequence[Samples]) -> list[Effect]:
    """Return the effect in each row. Rows of the same numbers of samples are computed together."""
    chunks = _chunks([(len(row.base), len(row.candidate), row.paired) for row in rows])
    found: dict[int, Effect] = {}
    with ThreadPoolExecutor(THREADS) as pool:
        several = pool.map(lambda chunk: _effects([rows[at] for at in chunk]), chunks)
        for chunk, some in zip(chunks, several, strict=True):
            found.update(zip(chunk, some, strict=True))
    return [found[index] for index in range(len(rows))]


def _effects(rows: Sequence[Samples]) -> Iterable[Effect]:
    """Return the effects in rows of the same design and numbers of samples."""
    base, candidate = np.array([row.base for row in rows]), np.array([row.candidate for row in rows])
    ordered = np.sort(base, axis=-1), np.sort(candidate, axis=-1)
    *logarithms, p = _paired(np.log(base), np.log(candidate)) if rows[0].paired else _unpaired(*map(np.log, ordered))
    with np.errstate(over="ignore"):  # the largest time over the smallest may exceed the range of a float
        ratios = [np.exp(one).tolist() for one in logarithms]
    return map(Effect, *ratios, p.tolist(), zip(*(_middle(one).tolist() for one in ordered), strict=True))


def _chunks(kinds: Sequence[Hashable]) -> list[list[int]]:
    """Return the indices of items of one kind together, at most :data:`CHUNK` each."""
    groups: dict[Hashable, list[int]] = {}
    for index, kind in enumerate(kinds):
        groups.setdefault(kind, []).append(index)
    return [group[start : start + CHUNK] for group in groups.values() for start in range(0, len(group), CHUNK)]


CHUNK = 2048
"""Rows computed at once: enough to amortise the calls, few enough for memory."""
THREADS = min(os.cpu_count() or 1, 4)
"""Number of chunks computed in parallel: sorting takes most of the time, and numpy releases the lock for it."""


def _paired(base: Array, candidate: Array) -> tuple[Array, Array, Array, Array]:
    difference = np.sort(candidate - base, axis=-1)
    return _middle(difference), *median_interval.of_median(difference), _blocked(base, candidate)


def _unpaired(x: Array, y: Array) -> tuple[Array, Array, Array, Array]:
    """Return the effects in rows whose logarithms are sorted: of the base, and of the candidate."""
    return _middle(y) - _middle(x), *median_interval.of_difference(x, y), _two_sided(*_u(x, y))


def _middle(ordered: Array) -> Array:
    """Return the median of each row of sorted values."""
    n = ordered.shape[-1]
    return (ordered[:, (n - 1) // 2] + ordered[:, n // 2]) / 2


def _blocked(base: Array, candidate: Array) -> Array:
    """Return two-sided probabilities of U summed over blocks of neighbours."""
    rows, n = base.shape
    total, variance = np.zeros(rows), np.zeros(rows)
    whole = max(n // BLOCK - 1, 0) * BLOCK  # a remainder joins the last block
    for start, end in pairwise([*range(0, whole + 1, BLOCK), n]):
        deviation, spread = _u(base[:, start:end], candidate[:, start:end])
        total += deviation
        variance += spread
    return _two_sided(total, variance)


def _u(x: Array, y: Array) -> tuple[Array, Array]:
    """Return, row by row, the distance of Mann and Whitney's U of y from its mean among equals, and its variance there.

    The variance is that of the ranks themselves, so that ties make it smaller.
    """
    m, n = x.shape[1], y.shape[1]
    ranks = midranks(np.concatenate([x, y], axis=1))
    deviation = ranks[:, m:].sum(axis=1) - n * (m + n + 1) / 2
    return deviation, ranks.var(axis=1, ddof=1) * m * n / (m + n)


def _two_sided(deviation: Array, variance: Array) -> Array:
    """Return probabilities by the normal distribution, corrected for continuity; 1 where all values are equal."""
    from scipy.special import ndtr

    z = np.maximum(np.abs(deviation) - 0.5, 0) / np.sqrt(np.where(variance > 0, variance, 1))
    return np.where(variance > 0, 2 * ndtr(-z), 1.0)


def midranks(values: Array) -> Array:
    """Return the ranks, from 1, within each row of (rows, n); equal values share the mean of theirs.

    ``scipy.stats.rankdata`` does the same, but importing it takes longer than a whole comparison.
    """
    order = np.argsort(values, axis=1)
    ordered = np.take_along_axis(values, order, axis=1)
    place = np.arange(values.shape[1])
    new = np.diff(ordered, axis=1, prepend=-np.inf) != 0
    first = np.maximum.accumulate(np.where(new, place, 0), axis=1)
    ends = np.concatenate([new[:, 1:], np.ones((len(values), 1), bool)], axis=1)
    last = np.minimum.accumulate(np.where(ends, place, place[-1])[:, ::-1], axis=1)[:, ::-1]
    ranks = np.empty(values.shape)
    np.put_along_axis(ranks, order, (first + last) / 2 + 1, axis=1)
    return ranks


@cache
def needed_samples(comparisons: int, *, paired: bool) -> int:
    """Return the number of samples a side needs for a change to be significant among so many comparisons.

    Even samples that do not overlap have a smallest probability, which must be below ``ALPHA / comparisons``.
    """
    n = FEWEST
    while True:
        apart = Samples([1 + 1e-3 * i for i in range(n)], [2 + 3e-3 * i for i in range(n)], paired)
        if effects([apart])[0].p * comparisons <= ALPHA:
            return n
        n += 1


def holm(p: Sequence[float]) -> list[float]:
    """Return probabilities corrected for their number, in the order given: significant if at most :data:`ALPHA`.

    The smallest is multiplied by their number, the next by one less, and so on; none may fall below the one before it.
    """
    values: Any = np.asarray(p, dtype=float)
    order = np.argsort(values, kind="stable")
    corrected = np.empty_like(values)
    corrected[order] = np.minimum(np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1)), 1)
    return [float(one) for one in corrected]
