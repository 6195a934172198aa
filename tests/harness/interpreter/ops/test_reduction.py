"""Reductions against numpy in float64, over every kind of axes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

FORMULAS = {
    "reduce_sum": np.sum,
    "reduce_mean": np.mean,
    "reduce_max": np.max,
    "reduce_min": np.min,
    "reduce_prod": np.prod,
    "reduce_l1_norm": lambda x, **k: np.sum(np.abs(x), **k),
    "reduce_l2_norm": lambda x, **k: np.sqrt(np.sum(x * x, **k)),
    "reduce_sum_square": lambda x, **k: np.sum(x * x, **k),
    "reduce_log_sum": lambda x, **k: np.log(np.sum(x, **k)),
    "reduce_log_sum_exp": lambda x, **k: np.log(np.sum(np.exp(x), **k)),
}
RTOL = 2e-6  # a sum of a few dozen float32 terms


@pytest.mark.parametrize("keep_dims", [False, True])
@pytest.mark.parametrize("axes", [None, (-1,), (0,), (0, 2), (1, -1)])
@pytest.mark.parametrize("op_type", FORMULAS)
def test_formula(run_op: Any, rng: np.random.Generator, op_type: str, axes: Any, keep_dims: Any) -> None:
    x = rng.uniform(0.5, 1.5, size=(2, 3, 4)).astype(np.float32)
    given = {} if axes is None else {"axes": np.array(axes, np.int32)}
    expected = FORMULAS[op_type](x.astype(np.float64), axis=axes, keepdims=keep_dims)
    result = run_op(op_type, x=run_op.variable(x), keep_dims=keep_dims, **given)
    assert result.shape == expected.shape
    np.testing.assert_allclose(result, expected, rtol=RTOL)


@pytest.mark.parametrize("op_type", ["reduce_sum", "reduce_max", "reduce_min", "reduce_prod", "reduce_l1_norm"])
def test_integers_are_exact(run_op: Any, op_type: str) -> None:
    x = np.array([[3, -4, 5], [100, 200, -300]], np.int32)
    expected = FORMULAS[op_type](x.astype(np.int64), axis=1)
    np.testing.assert_array_equal(run_op(op_type, x=run_op.variable(x), axes=np.array([1], np.int32)), expected)


@pytest.mark.parametrize(("op_type", "formula"), [("reduce_argmax", np.argmax), ("reduce_argmin", np.argmin)])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_arg_takes_the_first_of_equals(run_op: Any, op_type: str, formula: Any, axis: int) -> None:
    x = np.array([[1.0, 3.0, 3.0], [1.0, 1.0, 3.0], [0.0, 0.0, 0.0]], np.float32)
    np.testing.assert_array_equal(run_op(op_type, x=run_op.variable(x), axis=axis, out="int32"), formula(x, axis=axis))
    kept = run_op(op_type, x=run_op.variable(x), axis=axis, keep_dims=True, output_dtype="uint16", out="uint16")
    assert kept.dtype == np.uint16
    np.testing.assert_array_equal(kept, np.expand_dims(formula(x, axis=axis), axis))


def test_log_sum_exp_of_large_values(run_op: Any) -> None:
    x = np.array([1000.0, 1000.0], np.float32)
    result = run_op("reduce_log_sum_exp", x=run_op.variable(x))
    np.testing.assert_allclose(result, 1000 + np.log(2), rtol=RTOL)


def test_a_mean_of_squares_in_one_op_survives_what_two_ops_do_not(run_op: Any) -> None:
    x = np.full((1, 8), 200.0, np.float16)
    total = run_op("reduce_sum_square", x=run_op.variable(x), axes=np.array([1], np.int32), precision="fp16")
    assert np.isinf(total).all()  # 320000 is past float16 as a result
    norm = run_op("reduce_l2_norm", x=run_op.variable(x), axes=np.array([1], np.int32), precision="fp16")
    np.testing.assert_allclose(norm, np.sqrt(320000), rtol=2.0**-11)  # but fits as an intermediate
