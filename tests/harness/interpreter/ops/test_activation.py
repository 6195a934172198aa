"""Activations against their float64 formulas."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

X = np.array([[-300.0, -2.5, -0.1, 0.0, 1e-3, 0.7, 5.9, 300.0]])
RTOL = 2e-6  # exp and tanh in float32, then a product

erf = np.vectorize(math.erf)


def sigmoid(x: Any) -> Any:
    return 0.5 * (1 + np.tanh(0.5 * x))


FORMULAS = [
    (
        "clamped_relu",
        {"alpha": 0.1, "beta": 2.0},
        lambda x: np.minimum(2.0, np.where(x >= 0, x, np.float32(0.1) * x)),
    ),
    ("elu", {"alpha": 0.5}, lambda x: np.where(x > 0, x, 0.5 * np.expm1(np.minimum(x, 0)))),
    ("gelu", {}, lambda x: 0.5 * x * (1 + erf(x / np.sqrt(2)))),
    (
        "gelu",
        {"mode": "TANH_APPROXIMATION"},
        lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    ),
    ("gelu", {"mode": "SIGMOID_APPROXIMATION"}, lambda x: x * sigmoid(1.702 * x)),
    ("leaky_relu", {"alpha": 0.25}, lambda x: np.where(x >= 0, x, 0.25 * x)),
    ("linear_activation", {"alpha": 2.0, "beta": -1.0}, lambda x: 2 * x - 1),
    ("relu", {}, lambda x: np.maximum(x, 0)),
    ("relu6", {}, lambda x: np.clip(x, 0, 6)),
    ("scaled_tanh", {"alpha": 1.5, "beta": 0.5}, lambda x: 1.5 * np.tanh(0.5 * x)),
    ("sigmoid", {}, sigmoid),
    ("sigmoid_hard", {"alpha": 0.25, "beta": 0.5}, lambda x: np.clip(0.25 * x + 0.5, 0, 1)),
    ("silu", {}, lambda x: x * sigmoid(x)),
    ("softplus", {}, lambda x: np.logaddexp(x, 0)),
    ("softsign", {}, lambda x: x / (1 + np.abs(x))),
    ("thresholded_relu", {"alpha": 0.5}, lambda x: np.where(x >= 0.5, x, 0)),
]


@pytest.mark.parametrize(("op_type", "arguments", "formula"), FORMULAS, ids=[f[0] for f in FORMULAS])
def test_formula(run_op: Any, op_type: str, arguments: Any, formula: Any) -> None:
    x = X.astype(np.float32)
    result = run_op(op_type, x=run_op.variable(x), **arguments)
    np.testing.assert_allclose(result, formula(x.astype(np.float64)), rtol=RTOL, atol=2e-7)


@pytest.mark.parametrize(("op_type", "arguments", "formula"), FORMULAS, ids=[f[0] for f in FORMULAS])
def test_nan_stays_nan(run_op: Any, op_type: str, arguments: Any, formula: Any) -> None:
    x = np.full((2, 3), np.nan, np.float32)
    assert np.isnan(run_op(op_type, x=run_op.variable(x), **arguments)).all()


@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 3, 4, 2), (1, 3, 2, 2, 2)])
def test_parameters_by_channel(run_op: Any, rng: np.random.Generator, shape: Any) -> None:
    x = rng.normal(size=shape).astype(np.float32)
    alpha, beta = np.array([0.1, 0.5, 2.0], np.float32), np.array([1.0, 2.0, 0.5], np.float32)
    spread = (1, 3, *[1] * (len(shape) - 2))
    wide, a, b = x.astype(np.float64), alpha.reshape(spread), beta.reshape(spread)
    np.testing.assert_allclose(
        run_op("prelu", x=run_op.variable(x), alpha=alpha), np.where(wide > 0, wide, a * wide), rtol=RTOL
    )
    np.testing.assert_allclose(
        run_op("softplus_parametric", x=run_op.variable(x), alpha=alpha, beta=beta),
        a * np.logaddexp(b * wide, 0),
        rtol=RTOL,
    )


@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_softmax_survives_large_scores(run_op: Any, axis: int) -> None:
    x = np.array([[1e4, 0.0, -1e4], [300.0, 300.0, 299.0], [0.0, 0.0, 0.0]], np.float32)
    wide = x.astype(np.float64)
    powers = np.exp(wide - wide.max(axis=axis, keepdims=True))
    result = run_op("softmax", x=run_op.variable(x), axis=axis)
    np.testing.assert_allclose(result, powers / powers.sum(axis=axis, keepdims=True), rtol=RTOL, atol=1e-30)


def test_an_unknown_gelu_mode_is_named(run_op: Any) -> None:
    with pytest.raises(Exception, match=r"'y0' \(gelu\): unknown mode 'FAST'"):
        run_op("gelu", x=run_op.variable(X.astype(np.float32)), mode="FAST")
