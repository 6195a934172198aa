"""Precision metrics: how far a converted model's output is from the float32 PyTorch model's.

Each takes ``expected`` and ``actual`` of one shape and returns a float, computed in float64. A NaN in ``actual``
gives NaN (agreement metrics count it as disagreement): nothing is masked. Gates rest on relative L2, cosine, max-abs
and the logits' metrics; the mean relative error is shown because the original work reports it, but elements near
zero dominate it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    Array = npt.NDArray[Any]
    Metric = Callable[[Array, Array], float]

METRICS: dict[str, Metric] = {}
"""Every metric by name, in the order of the tables."""


def metric(function: Metric) -> Metric:
    """Register a metric under its function's name."""
    if function.__name__ in METRICS:
        raise ValueError(f"a metric named {function.__name__!r} is registered already")
    METRICS[function.__name__] = function
    return function


def measure(expected: Array, actual: Array) -> dict[str, float]:
    """Return every metric of one output.

    Raises
    ------
    ValueError: if the shapes differ.
    """
    if expected.shape != actual.shape:
        raise ValueError(f"cannot compare shapes {expected.shape} and {actual.shape}")
    wide, other = expected.astype(np.float64), actual.astype(np.float64)
    return {name: function(wide, other) for name, function in METRICS.items()}


HIGHER_IS_BETTER = frozenset({"cosine", "top1"})


def over(runs: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return each metric at its worst over several runs, and for more than one run its mean as ``<name>_mean``.

    A NaN in any run is the worst there is. The number of runs is ``runs``, where there is more than one.
    """
    if len(runs) == 1:
        return dict(runs[0])
    result: dict[str, float] = {}
    for name in runs[0]:
        values = np.array([run[name] for run in runs])
        result[name] = float(values.min() if name in HIGHER_IS_BETTER else values.max())  # both hand a NaN on
        result[f"{name}_mean"] = float(values.mean())
    return {**result, "runs": float(len(runs))}


@metric
def rel_l2(expected: Array, actual: Array) -> float:
    """Return ``|actual - expected| / |expected|`` in the L2 norm; 0 when both are zero."""
    error, size = float(np.linalg.norm(actual - expected)), float(np.linalg.norm(expected))
    if size == 0:
        return 0.0 if error == 0 else float("inf")
    return error / size


@metric
def cosine(expected: Array, actual: Array) -> float:
    """Return the cosine of the angle between the two, flattened; 1 is the same direction."""
    size = float(np.linalg.norm(expected)) * float(np.linalg.norm(actual))
    if size == 0:
        return 1.0 if not expected.any() and not actual.any() else 0.0
    return float(np.dot(expected.ravel(), actual.ravel())) / size


@metric
def max_abs(expected: Array, actual: Array) -> float:
    """Return the largest absolute difference."""
    return float(np.max(np.abs(actual - expected), initial=0.0))


@metric
def mean_rel(expected: Array, actual: Array) -> float:
    """Return the mean of ``|actual - expected| / (|expected| + 1e-8)``, as the original work defines it."""
    if expected.size == 0:
        return 0.0
    return float(np.mean(np.abs(actual - expected) / (np.abs(expected) + 1e-8)))


@metric
def kl(expected: Array, actual: Array) -> float:
    """Return the mean Kullback-Leibler divergence, in nats, of the softmax over the last axis, from ``expected``."""
    p, q = _log_softmax(expected), _log_softmax(actual)
    return float(np.mean(np.sum(np.exp(p) * (p - q), axis=-1)))


@metric
def top1(expected: Array, actual: Array) -> float:
    """Return the fraction of rows whose largest entry is the same."""
    same = np.argmax(expected, axis=-1) == np.argmax(actual, axis=-1)
    finite = ~np.isnan(actual).any(axis=-1)
    return float(np.mean(same & finite))


def _log_softmax(logits: Array) -> Array:
    shifted = logits - np.max(logits, axis=-1, keepdims=True)
    result: Array = shifted - np.log(np.sum(np.exp(shifted), axis=-1, keepdims=True))
    return result
