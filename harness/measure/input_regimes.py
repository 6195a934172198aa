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
    from collections.abc import Callable, Iterator, Sequence

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


def inputs(regime: str, seed: int = 0) -> Array:
    """Return rows of a regime, float16, shape (1, ROWS, WIDTH)."""
    rows = np.random.default_rng(seed).standard_normal((ROWS, WIDTH))
    return REGIMES[regime](rows).astype(np.float16)[None]


def gamma(seed: int = 1) -> Array:
    """Return a scale around 1, float32, shape (WIDTH,)."""
    return np.random.default_rng(seed).uniform(0.5, 1.5, WIDTH).astype(np.float32)


def formula(x: Array, scale: Array) -> Array:
    """Return the RMSNorm of rows in float64."""
    wide = x.astype(np.float64)
    result: Array = scale.astype(np.float64) * wide / np.sqrt(np.mean(wide**2, axis=-1, keepdims=True) + EPSILON)
    return result


def measure(lowerings: Sequence[str], policies: Sequence[str]) -> Iterator[Error]:
    """Yield the error of float16's own rounding, then that of every lowering under every policy."""
    stored = gamma().astype(np.float16)
    rounded = {name: formula(inputs(name), stored).astype(np.float16) for name in REGIMES}
    yield Error(ROUNDING, "fp16", {name: _error(name, value) for name, value in rounded.items()})
    for lowering in lowerings:
        model = one_norm((1, ROWS, WIDTH), gamma(), EPSILON, lowering=lowering, skip_model_load=True)
        for policy in policies:
            reference = ReferenceModel(model, policy)
            found = {name: next(iter(reference.predict({"x": inputs(name)}).values())) for name in REGIMES}
            errors: dict[str, float | None] = {name: _error(name, value) for name, value in found.items()}
            yield Error(lowering, policy, errors, _predicted_s(reference, policy))


def _predicted_s(reference: ReferenceModel, policy: str) -> float | None:
    """Return the seconds that the engine model predicts for the norm, for a policy of the Neural Engine."""
    family = policy.removeprefix(PREDICTING).partition("-")[0]
    if not policy.startswith(PREDICTING):
        return None
    return predict(reference.function, family, policy).latency_s


def _error(regime: str, actual: Array) -> float:
    """Return the mean relative error against rows not rounded to float16; for zeros, the magnitude."""
    rows = REGIMES[regime](np.random.default_rng(0).standard_normal((ROWS, WIDTH)))[None]
    expected = formula(rows, gamma())
    if not expected.any():
        return float(np.max(np.abs(actual)))
    return float(np.mean(np.abs(actual.astype(np.float64) - expected) / np.abs(expected)))
