"""Measure the error of each lowering by input regime: one norm, converted and executed, compared with float64.

The regimes are kinds of rows that an RMSNorm reads: ordinary rows, zeros, a spike (the residual stream of published
models peaks between 410 and 292,969), tiny rows, float16's largest number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from harness.engine.prediction import predict
from harness.interpreter import ReferenceModel
from harness.measure.one_norm import one_norm
from harness.records.regime_errors import Error
from harness.records.schema import PREDICTING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import numpy.typing as npt

    Array = npt.NDArray[Any]

WIDTH = 2048
ROWS = 64
EPSILON = 1e-5
ROUNDING = "(rounding)"
"""Name of the table's row for float16's own rounding: the float64 formula with input, gamma and output rounded."""


def _spiked(x: Array, size: float) -> Array:
    x[:, 7] = size
    return x


REGIMES: dict[str, Callable[[Array], Array]] = {
    "N(0, 1)": lambda x: x,
    "zeros": np.zeros_like,
    "spike 300": lambda x: _spiked(x, 300.0),
    "spike 2,500": lambda x: _spiked(x, 2500.0),
    "spike 60,000": lambda x: _spiked(x, 60000.0),
    "rows of 1e-3": lambda x: x * 1e-3,
    "largest float16": lambda x: x / np.max(np.abs(x), axis=-1, keepdims=True) * 65504.0,
}
"""The function that each regime applies to rows drawn from N(0, 1)."""


def wide_rows(regime: str, width: int = WIDTH) -> Array:
    """Return rows of a regime, float64, shape (1, ROWS, width)."""
    return REGIMES[regime](np.random.default_rng(0).standard_normal((ROWS, width)))[None]


def gamma(width: int = WIDTH) -> Array:
    """Return a scale that varies around 1, float32, shape (width,)."""
    return np.random.default_rng(1).uniform(0.5, 1.5, width).astype(np.float32)


def formula(x: Array, scale: Array) -> Array:
    """Return the RMSNorm of rows in float64."""
    wide = x.astype(np.float64)
    result: Array = scale.astype(np.float64) * wide / np.sqrt(np.mean(wide**2, axis=-1, keepdims=True) + EPSILON)
    return result


def measure(lowerings: Sequence[str], policies: Sequence[str], widths: Sequence[int] = (WIDTH,)) -> Iterator[Error]:
    """Yield, by width, the error of float16's own rounding, then that of every lowering under every policy."""
    for width in widths:
        scale = gamma(width)
        rows = {name: wide_rows(name, width) for name in REGIMES}
        stored = {name: value.astype(np.float16) for name, value in rows.items()}
        expected = {name: formula(value, scale) for name, value in rows.items()}
        rounded = {name: formula(x, scale.astype(np.float16)).astype(np.float16) for name, x in stored.items()}
        yield Error(ROUNDING, "fp16", _errors(rounded, expected), width)
        for lowering in lowerings:
            model = one_norm((1, ROWS, width), scale, EPSILON, lowering=lowering, skip_model_load=True)
            for policy in policies:
                reference = ReferenceModel(model, policy)
                found = {name: next(iter(reference.predict({"x": x}).values())) for name, x in stored.items()}
                yield Error(lowering, policy, _errors(found, expected), width, _predicted_s(reference, policy))


def _predicted_s(reference: ReferenceModel, policy: str) -> float | None:
    """Return the seconds that the engine model predicts for the norm, for a policy of the Neural Engine."""
    family = policy.removeprefix(PREDICTING).partition("-")[0]
    if not policy.startswith(PREDICTING):
        return None
    return predict(reference.function, family, policy).latency_s


def _errors(found: Mapping[str, Array], expected: Mapping[str, Array]) -> dict[str, float | None]:
    return {name: _error(value, expected[name]) for name, value in found.items()}


def _error(actual: Array, expected: Array) -> float:
    """Return the mean relative error against rows not rounded to float16; for zeros, the magnitude."""
    if not expected.any():
        return float(np.max(np.abs(actual)))
    return float(np.mean(np.abs(actual.astype(np.float64) - expected) / np.abs(expected)))
