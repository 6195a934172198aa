"""Unary ops against their float64 formulas, on values that include the edges of each formula."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

FP32_ULPS = 4e-7  # a few roundings of float32's 2**-24
FP16_HALF_ULP = 2.0**-11  # one rounding to float16

VALUES = np.array([0.0, -0.0, 1e-3, -0.5, 0.25, 0.75, -0.9])
WIDE = np.array([0.0, 300.0, -300.0, 2.5, -2.5, 0.5, -1.5, 65504.0])
POSITIVE = np.array([1e-6, 0.3, 1.0, 300.0, 65504.0])

FORMULAS = {
    "abs": (np.abs, WIDE),
    "acos": (np.arccos, VALUES),
    "asin": (np.arcsin, VALUES),
    "atan": (np.arctan, WIDE),
    "atanh": (np.arctanh, VALUES),
    "ceil": (np.ceil, WIDE),
    "cos": (np.cos, VALUES),
    "cosh": (np.cosh, VALUES),
    "erf": (np.vectorize(math.erf), VALUES),
    "exp": (np.exp, VALUES),
    "exp2": (np.exp2, VALUES),
    "floor": (np.floor, WIDE),
    "round": (np.round, WIDE),
    "sign": (np.sign, WIDE),
    "sin": (np.sin, VALUES),
    "sinh": (np.sinh, VALUES),
    "sqrt": (np.sqrt, POSITIVE),
    "square": (np.square, WIDE),
    "tan": (np.tan, VALUES),
    "tanh": (np.tanh, VALUES),
}


@pytest.mark.parametrize("op_type", FORMULAS)
def test_formula_in_float32(run_op: Any, op_type: str) -> None:
    formula, values = FORMULAS[op_type]
    x = values.astype(np.float32)
    result = run_op(op_type, x=run_op.variable(x))
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, formula(x.astype(np.float64)), rtol=FP32_ULPS, atol=1e-7)


@pytest.mark.parametrize("op_type", FORMULAS)
def test_nan_stays_nan(run_op: Any, op_type: str) -> None:
    assert np.isnan(run_op(op_type, x=run_op.variable(np.full(1, np.nan, np.float32)))).all()


@pytest.mark.parametrize("op_type", FORMULAS)
def test_one_rounding_in_float16(run_op: Any, op_type: str) -> None:
    formula, values = FORMULAS[op_type]
    x = values.astype(np.float16)
    result = run_op(op_type, x=run_op.variable(x), precision="fp16")
    with np.errstate(over="ignore"):
        exact = formula(x.astype(np.float64)).astype(np.float16)
    assert result.dtype == np.float16
    np.testing.assert_allclose(result.astype(np.float64), exact.astype(np.float64), rtol=2 * FP16_HALF_ULP, atol=1e-7)


@pytest.mark.parametrize(
    ("op_type", "formula", "default"),
    [
        ("inverse", lambda x, e: 1 / (x + e), 1e-4),
        ("log", lambda x, e: np.log(x + e), 1e-45),
        ("rsqrt", lambda x, e: 1 / np.sqrt(x + e), 1e-12),
    ],
)
def test_epsilon_is_added_first(run_op: Any, op_type: str, formula: Any, default: Any) -> None:
    x = POSITIVE.astype(np.float32)
    for epsilon in (None, 0.5):
        given = {} if epsilon is None else {"epsilon": np.float32(epsilon)}
        result = run_op(op_type, x=run_op.variable(x), **given)
        expected = formula(x.astype(np.float64), default if epsilon is None else epsilon)
        np.testing.assert_allclose(result, expected, rtol=1e-6)


def test_square_overflows_in_float16_from_256(run_op: Any) -> None:
    x = np.array([255.0, 256.0, 300.0, 0.0], np.float16)
    result = run_op("square", x=run_op.variable(x), precision="fp16")
    np.testing.assert_array_equal(result, np.array([65024.0, np.inf, np.inf, 0.0], np.float16))


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ([2.7, -2.7, 300.0], "int32", [2, -2, 300]),
        ([2.7, -2.7, 300.0], "int8", [2, -2, 127]),
        ([2.7, -2.7, 300.0], "uint8", [2, 0, 255]),
        ([2.7, 0.0, -0.1], "bool", [True, False, True]),
        ([2.7, 70000.0, 1e-9], "fp16", [2.7, np.inf, 0.0]),
    ],
)
def test_cast_from_float(run_op: Any, values: Any, dtype: Any, expected: Any) -> None:
    result = run_op("cast", x=run_op.variable(np.array(values, np.float32)), dtype=dtype, out=dtype, precision="fp16")
    np.testing.assert_array_equal(result, np.array(expected).astype(result.dtype))


def test_cast_between_integers_wraps(run_op: Any) -> None:
    x = np.array([-1, 300, 65536 + 7], np.int32)
    assert run_op("cast", x=run_op.variable(x), dtype="uint8", out="uint8").tolist() == [255, 44, 7]
    assert run_op("cast", x=run_op.variable(x), dtype="uint16", out="uint16").tolist() == [65535, 300, 7]


def test_clip_and_threshold(run_op: Any) -> None:
    x = np.array([-5.0, 0.0, 2.0, 9.0], np.float32)
    assert run_op("clip", x=run_op.variable(x), alpha=-1.0, beta=3.0).tolist() == [-1.0, 0.0, 2.0, 3.0]
    assert run_op("threshold", x=run_op.variable(x), alpha=1.0).tolist() == [1.0, 1.0, 2.0, 9.0]


def test_integers_stay_exact(run_op: Any) -> None:
    x = np.array([-7, 0, 46341], np.int32)
    assert run_op("abs", x=run_op.variable(x)).tolist() == [7, 0, 46341]
    assert run_op("square", x=run_op.variable(x)).tolist() == [49, 0, -2147479015]
    assert run_op("exp2", x=run_op.variable(np.array([0, 3, 30], np.int32))).tolist() == [1, 8, 1 << 30]


def test_logical_not(run_op: Any) -> None:
    assert run_op("logical_not", x=run_op.variable(np.array([True, False]))).tolist() == [False, True]
