"""The interval of a median, and of the difference of two samples' medians, as the percentile bootstrap has it.

The distribution of the median of a resample is known without sampling. The median of ``m`` values drawn from
``v_1 <= ... <= v_n`` is at most ``v_k`` with probability ``P(Binomial(m, k / n) >= (m + 1) / 2)`` (Efron, The
Jackknife, the Bootstrap and Other Resampling Plans, 1982, section 10.3), so the intervals are exact and need no seed.
``m`` is ``n``, or ``n - 1`` for an even ``n``, where the median would fall between two values.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[np.floating[Any]]

CONFIDENCE = 0.99
"""Confidence of each interval by itself."""
ENDS = ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)
"""Probabilities of the ends of an interval."""
ROUNDING = 1e-9
"""Beyond the error of sums of probabilities."""


def of_median(ordered: Array) -> tuple[Array, Array]:
    """Return the ends of the interval of the median of each row of (rows, n) sorted values."""
    weights = _weights(ordered.shape[-1])
    low, high = (_quantile(ordered, weights, end) for end in ENDS)
    return low, high


def of_difference(x: Array, y: Array) -> tuple[Array, Array]:
    """Return the ends of the interval of the difference of medians, y less x, of rows of (rows, m) and (rows, n)."""
    low, high = (_difference_at(x, y, _tail(x.shape[-1], y.shape[-1], end)) for end in ENDS)
    return low, high


@cache
def _weights(n: int) -> Array:
    """Return the probability of each of ``n`` sorted values to be the median of a resample."""
    from scipy.special import bdtrc

    drawn = n - 1 + n % 2
    at_most = bdtrc((drawn - 1) // 2, drawn, np.arange(n + 1) / n)
    return np.diff(at_most)


class _Tail(NamedTuple):
    """The differences among which a quantile of the differences of two resampled medians is found."""

    probability: float
    of_x: npt.NDArray[np.intp]
    """For each of these differences ``y_j - x_i``: ``i``, a place in the sorted values."""
    of_y: npt.NDArray[np.intp]
    weights: Array
    """Their probabilities."""
    below: float
    """Probability of the differences that lie below the quantile whatever the values are."""


@cache
def _tail(m: int, n: int, probability: float) -> _Tail:
    """Return the differences that may be a quantile, of ``m`` sorted values x and ``n`` of y.

    ``y_j - x_i`` is at least every difference of a smaller ``y`` and a larger ``x``, and at most every one of a larger
    ``y`` and a smaller ``x``. If the first have the quantile's probability, or all but the second lack it, then another
    difference is the quantile, whatever the values are. So a third of the differences is sorted, not all of them.
    """
    (of_x, wx), (of_y, wy) = _likely(m), _likely(n)
    own = np.outer(wy, wx)
    never_above = np.outer(np.cumsum(wy), np.cumsum(wx[::-1])[::-1]) - own
    never_below = np.outer(np.cumsum(wy[::-1])[::-1], np.cumsum(wx)) - own
    above = never_above > probability + ROUNDING
    below = own.sum() - never_below < probability - ROUNDING
    j, i = np.nonzero(~above & ~below)
    return _Tail(probability, of_x[i], of_y[j], own[j, i], float(own[below].sum()))


def _likely(n: int) -> tuple[npt.NDArray[np.intp], Array]:
    """Return which of ``n`` sorted values are not negligibly improbable as a resample's median, and how probable."""
    weights = _weights(n)
    kept = np.flatnonzero(weights > 1e-6)
    return kept, weights[kept]


def _difference_at(x: Array, y: Array, tail: _Tail) -> Array:
    """Return, row by row, the quantile of the differences of sorted values."""
    differences = y[:, tail.of_y] - x[:, tail.of_x]
    order = np.argsort(differences, axis=-1)
    ordered = np.take_along_axis(differences, order, axis=-1)
    return _quantile(ordered, tail.weights[order], tail.probability - tail.below)


def _quantile(values: Array, weights: Array, probability: float) -> Array:
    """Return, row by row, a quantile of a discrete distribution: of sorted values, with one row of weights or each."""
    index = np.minimum((np.cumsum(weights, axis=-1) < probability).sum(axis=-1), values.shape[-1] - 1)
    if not index.ndim:
        return values[:, index]
    return np.take_along_axis(values, index[:, None], axis=-1)[:, 0]
