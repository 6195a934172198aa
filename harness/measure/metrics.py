"""Measure how far a converted model's output is from the float32 PyTorch model's.

Each metric takes ``expected`` and ``actual`` of one shape and returns a float, computed in float64. A NaN in ``actual``
gives NaN (agreement metrics count it as disagreement), and nothing is masked. Gates use relative L2, cosine, max-abs
and the logits' metrics. The mean relative error is shown because the original work reports it, but elements near zero
dominate it, so no gate uses it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.errors import UnknownNameError
from harness.records.baselines import Tolerance
from harness.system.light_registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    Array = npt.NDArray[Any]
    Metric = Callable[[Array, Array], float]


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """A metric: its function, and the traits that tables, gates, baselines and histories read."""

    function: Metric
    title: str
    """Header of the metric's column."""
    spec: str
    """Format specification of the metric's figures."""
    higher_is_better: bool
    """Whether the best value is 1 rather than 0."""
    tolerance: Tolerance | None
    """Allowed distance from a baseline; None for a metric that is shown but not gated."""
    near_one: bool
    """Whether differences are visible only in the distance from 1."""
    in_tables: bool = True
    """Whether the results table has a column for it."""

    def distance(self, value: float | None) -> float:
        """Return the distance of a value from the best one; infinity if it is missing or not finite."""
        if value is None or not math.isfinite(value):
            return math.inf
        return 1 - value if self.higher_is_better else value

    def figure(self, value: float) -> str:
        """Return a value formatted for tables."""
        return format(value, self.spec)

    def exact(self, value: float | None) -> str:
        """Return a value formatted for sentences, which show small differences: ``1 - 3.20e-07`` for a cosine."""
        if value is None or not math.isfinite(value):
            return "not finite"
        if self.near_one:
            return f"1 - {1 - value:.2e}"
        return self.figure(value) if self.higher_is_better else f"{value:.2e}"


METRICS: Registry[MetricSpec] = Registry("metric", UnknownNameError)
"""Every metric by name, in the order of the tables."""


def metric(
    title: str,
    *,
    spec: str = ".2e",
    higher_is_better: bool = False,
    tolerance: Tolerance | None = None,
    near_one: bool = False,
    in_tables: bool = True,
) -> Callable[[Metric], Metric]:
    """Register a function as the metric of its name; the traits are those of :class:`MetricSpec`.

    Raises
    ------
    ValueError: if a metric of that name is registered already.
    """

    def register(function: Metric) -> Metric:
        entry = MetricSpec(function, title, spec, higher_is_better, tolerance, near_one, in_tables)
        METRICS.add(function.__name__, entry, function)
        return function

    return register


def spec_of(name: str) -> MetricSpec:
    """Return a metric's traits; an unknown metric, of another version, is treated as an error (lower is better)."""
    known: MetricSpec | None = METRICS.get(name)
    return known or MetricSpec(_unknown, name, ".2e", higher_is_better=False, tolerance=None, near_one=False)


def _unknown(_expected: Array, _actual: Array) -> float:
    return math.nan


def tolerances() -> dict[str, Tolerance]:
    """Return the tolerance of each gated metric by name.

    Processors sum in different orders, which changes single float16 roundings, so the error of the same program differs
    by a few per cent from machine to machine.
    """
    return {name: one.tolerance for name, one in METRICS.items() if one.tolerance is not None}


def measure(expected: Array, actual: Array) -> dict[str, float]:
    """Return every metric of one output.

    Raises
    ------
    ValueError: if the shapes differ.
    """
    if expected.shape != actual.shape:
        raise ValueError(f"cannot compare shapes {expected.shape} and {actual.shape}")
    wide, other = expected.astype(np.float64), actual.astype(np.float64)
    with np.errstate(all="ignore"):  # infinite logits give NaN, which is returned
        return {name: one.function(wide, other) for name, one in METRICS.items()}


def not_computed() -> dict[str, float | None]:
    """Return None for every metric: the metrics of a row whose output was never compared."""
    return dict.fromkeys(METRICS)


def over(runs: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the worst value of each metric over several runs, and for more than one run its mean as ``<name>_mean``.

    A NaN in any run is the worst value. For more than one run, ``runs`` is their number.
    """
    if len(runs) == 1:
        return dict(runs[0])
    result: dict[str, float] = {}
    for name in runs[0]:
        values = np.array([run[name] for run in runs])
        result[name] = float(values.min() if METRICS[name].higher_is_better else values.max())  # both propagate NaN
        result[f"{name}_mean"] = float(values.mean())
    return {**result, "runs": float(len(runs))}


@metric("rel L2", tolerance=Tolerance(0.25, 1e-5))
def rel_l2(expected: Array, actual: Array) -> float:
    """Return ``|actual - expected| / |expected|`` in the L2 norm; 0 when both are zero."""
    error, size = float(np.linalg.norm(actual - expected)), float(np.linalg.norm(expected))
    if size == 0:
        return 0.0 if error == 0 else float("inf")
    return error / size


# A cosine's distance from 1 is quadratic in the error, so the tolerance is wider.
@metric("cosine", spec=".6f", higher_is_better=True, tolerance=Tolerance(0.5, 1e-7), near_one=True)
def cosine(expected: Array, actual: Array) -> float:
    """Return the cosine of the angle between the two flattened arrays; 1 is the same direction."""
    size = float(np.linalg.norm(expected)) * float(np.linalg.norm(actual))
    if size == 0:
        return 1.0 if not expected.any() and not actual.any() else 0.0
    return float(np.dot(expected.ravel(), actual.ravel())) / size


# The largest error and the divergence depend on few elements.
@metric("max abs", tolerance=Tolerance(0.5, 1e-4))
def max_abs(expected: Array, actual: Array) -> float:
    """Return the largest absolute difference."""
    return float(np.max(np.abs(actual - expected), initial=0.0))


@metric("mean rel")
def mean_rel(expected: Array, actual: Array) -> float:
    """Return the mean of ``|actual - expected| / (|expected| + 1e-8)``, as the original work defines it."""
    if expected.size == 0:
        return 0.0
    return float(np.mean(np.abs(actual - expected) / (np.abs(expected) + 1e-8)))


@metric("KL", spec=".1e", tolerance=Tolerance(0.5, 1e-7))
def kl(expected: Array, actual: Array) -> float:
    """Return the mean Kullback-Leibler divergence in nats, from ``expected``, of the softmax over the last axis."""
    p, q = _log_softmax(expected), _log_softmax(actual)
    return float(np.mean(np.sum(np.exp(p) * (p - q), axis=-1)))


# The metric counts rows, and one or two of them may be ties.
@metric("top-1", spec=".3f", higher_is_better=True, tolerance=Tolerance(0.0, 0.05))
def top1(expected: Array, actual: Array) -> float:
    """Return the fraction of rows whose largest entry is the same."""
    same = np.argmax(expected, axis=-1) == np.argmax(actual, axis=-1)
    finite = ~np.isnan(actual).any(axis=-1)
    return float(np.mean(same & finite))


@metric("zero rows", spec=".2f", in_tables=False)
def zero_rows(_expected: Array, actual: Array) -> float:
    """Return the fraction of rows that are all zeros, as a norm whose squares overflow leaves them."""
    return float(np.mean(~actual.any(axis=-1))) if actual.size else 0.0


def _log_softmax(logits: Array) -> Array:
    shifted = logits - np.max(logits, axis=-1, keepdims=True)
    result: Array = shifted - np.log(np.sum(np.exp(shifted), axis=-1, keepdims=True))
    return result
