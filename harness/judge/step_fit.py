r"""Fit a piecewise constant function to a noisy series, by least absolute deviations with a penalty for each step.

For a penalty :math:`\gamma` the fit minimises :math:`\gamma J + \sum_i |y_i - x_i|`, with J the number of steps of x:
the Potts functional, solved exactly by dynamic programming (Friedrich, Kempe, Liebscher, Winkler, "Complexity
Penalized M-Estimation", 2008). Pieces are at most :data:`LONGEST` values long in that step and are merged afterwards
where that lowers the functional, so that the cost grows linearly with the series.

The penalty is the one whose fit minimises :math:`\beta J + \log(\sigma_0 + \sum_i |e_i - \rho e_{i-1}|)`, with
:math:`\beta = 4 \log(n) / n` as of the Bayesian information criterion with four degrees of freedom a step, e the
residuals and :math:`\rho` the correlation of neighbours that fits them best: airspeed velocity chooses it in the same
way (https://asv.readthedocs.io/en/stable/dev.html), by golden section instead of over a grid.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[np.floating[Any]]

LONGEST = 20
"""Longest piece of the exact solution, in values."""
PENALTIES = 16
"""Number of penalties tried, evenly spaced in the logarithm."""
CORRELATIONS = np.linspace(-0.95, 0.95, 39)


def steps(series: Array) -> list[int]:
    """Return the index of the first value of each piece except the first, ascending.

    Parameters
    ----------
    series: finite values, shape (n,), n at least 1.
    """
    n = len(series)
    cost = _Costs(series)
    penalties = (cost(0, n) or 1.0) * np.exp(np.linspace(np.log(0.1 / n), 0.0, PENALTIES))
    best, found = np.inf, [0, n]
    for edges, penalty in zip(_potts(series, penalties), penalties, strict=True):
        merged = _merged(cost, edges, float(penalty))
        criterion = 4 * np.log(n) / n * (len(merged) - 1) + np.log(_residual(series, merged))
        if criterion < best:
            best, found = float(criterion), merged
    return found[1:-1]


class _Costs:
    """The sums of absolute deviations of pieces from their medians, each computed once."""

    def __init__(self, series: Array) -> None:
        self._series = series
        self._known: dict[tuple[int, int], float] = {}

    def __call__(self, left: int, right: int) -> float:
        known = self._known.get((left, right))
        if known is None:
            piece = np.sort(self._series[left:right])
            half = len(piece) // 2
            known = float(piece[len(piece) - half :].sum() - piece[:half].sum())
            self._known[left, right] = known
        return known


def _potts(series: Array, penalties: Array) -> list[list[int]]:
    """Return, for each penalty, the edges of the best partition into pieces of up to ``LONGEST`` values."""
    n = len(series)
    longest = min(LONGEST, n)
    costs = np.full((n + 1, longest), np.inf)  # by the piece's right edge, and its length less 1
    for length in range(1, longest + 1):
        windows = np.lib.stride_tricks.sliding_window_view(series, length)
        costs[length:, length - 1] = np.abs(windows - np.median(windows, axis=1)[:, None]).sum(axis=1)
    total = np.zeros((len(penalties), n + 1))
    total[:, 0] = -penalties
    begin = np.zeros((len(penalties), n + 1), dtype=int)
    for right in range(1, n + 1):
        width = min(right, longest)
        values = total[:, right - width : right][:, ::-1] + costs[right, :width]
        at = values.argmin(axis=1)
        total[:, right] = values[np.arange(len(penalties)), at] + penalties
        begin[:, right] = right - at - 1
    return [_edges(row, n) for row in begin]


def _edges(begin: npt.NDArray[np.intp], n: int) -> list[int]:
    """Return the edges of a partition, given the beginning of the piece that ends at each index."""
    edges = [n]
    while edges[-1]:
        edges.append(int(begin[edges[-1]]))
    return edges[::-1]


def _merged(cost: _Costs, edges: list[int], penalty: float) -> list[int]:
    """Merge neighbouring pieces while that lowers the functional, then move each edge to its best place."""
    edges = list(edges)
    while len(edges) > 2:
        change = [cost(a, c) - cost(a, b) - cost(b, c) for a, b, c in zip(edges, edges[1:], edges[2:], strict=False)]
        at = int(np.argmin(change))
        if change[at] > penalty:
            break
        del edges[at + 1]
    for at in range(1, len(edges) - 1):
        left, right = edges[at - 1], edges[at + 1]
        near = range(max(left + 1, edges[at] - LONGEST), min(right - 1, edges[at] + LONGEST) + 1)
        edges[at] = min(near, key=lambda edge: cost(left, edge) + cost(edge, right))
    return edges


def _residual(series: Array, edges: list[int]) -> float:
    """Return the sum of absolute residuals after removing the correlation of neighbours, plus a floor above zero."""
    levels = np.array([np.median(series[a:b]) for a, b in pairwise(edges)])
    error = series - np.repeat(levels, np.diff(edges))
    innovations = np.abs(error[1:] - CORRELATIONS[:, None] * error[:-1]).sum(axis=1)
    floor = 0.1 * np.abs(np.diff(levels)).min() if len(levels) > 2 else 1e-3 * np.abs(levels).min()
    return float(max(floor, 1e-300) + abs(error[0]) + innovations.min(initial=np.inf if len(error) > 1 else 0.0))
