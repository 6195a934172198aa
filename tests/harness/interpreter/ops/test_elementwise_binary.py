"""Binary ops against numpy, broadcasting and integer edges included."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

FLOATS = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "real_div": np.divide,
    "floor_div": np.floor_divide,
    "mod": np.mod,
    "pow": np.power,
    "maximum": np.maximum,
    "minimum": np.minimum,
}
COMPARISONS = {
    "equal": np.equal,
    "not_equal": np.not_equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "less": np.less,
    "less_equal": np.less_equal,
}
LOGICAL = {"logical_and": np.logical_and, "logical_or": np.logical_or, "logical_xor": np.logical_xor}

X = np.array([[0.0, 300.0, 2.5], [0.5, 65504.0, 1e-3]], np.float32)
Y = np.array([1.5, 2.0, 0.75], np.float32)


@pytest.mark.parametrize("op_type", FLOATS)
def test_floats_broadcast(run_op: Any, op_type: str) -> None:
    expected = FLOATS[op_type](X.astype(np.float64), Y.astype(np.float64))
    result = run_op(op_type, x=run_op.variable(X), y=run_op.variable(Y))
    # pow and mod of large arguments lose a few more bits than one rounding
    np.testing.assert_allclose(result, expected, rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("op_type", FLOATS)
def test_integers_are_exact(run_op: Any, op_type: str) -> None:
    x = np.array([[7, -7, 0], [2, 46340, 1]], np.int32)
    y = np.array([3, 2, 1], np.int32)
    exact = FLOATS[op_type](x.astype(np.int64), y.astype(np.int64))
    expected = np.trunc(exact) if op_type == "real_div" else exact
    np.testing.assert_array_equal(run_op(op_type, x=run_op.variable(x), y=run_op.variable(y)), expected)


def test_integer_sums_wrap_around(run_op: Any) -> None:
    x = np.array([2**31 - 1, -(2**31)], np.int32)
    one = np.array([1, -1], np.int32)
    assert run_op("add", x=run_op.variable(x), y=one).tolist() == [-(2**31), 2**31 - 1]


@pytest.mark.parametrize("op_type", ["floor_div", "mod", "real_div"])
def test_integer_division_by_zero_is_zero(run_op: Any, op_type: str) -> None:
    x = np.array([5, -5], np.int32)
    assert run_op(op_type, x=run_op.variable(x), y=np.array([0, 0], np.int32)).tolist() == [0, 0]


@pytest.mark.parametrize("op_type", COMPARISONS)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int32])
def test_comparisons(run_op: Any, op_type: str, dtype: Any) -> None:
    x, y = np.array([1, 2, 3], dtype), np.array([3, 2, 1], dtype)
    result = run_op(op_type, x=run_op.variable(x), y=y, out="bool")
    np.testing.assert_array_equal(result, COMPARISONS[op_type](x, y))


def test_nan_compares_unequal_and_spreads_through_maximum(run_op: Any) -> None:
    x = np.array([np.nan, 1.0], np.float32)
    assert run_op("equal", x=run_op.variable(x), y=x, out="bool").tolist() == [False, True]
    assert np.isnan(run_op("maximum", x=run_op.variable(x), y=np.float32(0.0))[0])


@pytest.mark.parametrize("op_type", LOGICAL)
def test_logical(run_op: Any, op_type: str) -> None:
    x, y = np.array([True, True, False, False]), np.array([True, False, True, False])
    np.testing.assert_array_equal(run_op(op_type, x=run_op.variable(x), y=y), LOGICAL[op_type](x, y))


def test_a_product_beyond_float16_is_inf_and_below_is_zero(run_op: Any) -> None:
    x = np.array([300.0, 65504.0, 1e-4], np.float16)
    result = run_op("mul", x=run_op.variable(x), y=x, precision="fp16")
    np.testing.assert_array_equal(result, np.array([np.inf, np.inf, 0.0], np.float16))
