"""Matrix products against numpy in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

RTOL = 2e-6  # float32 dot products of a few terms
SHAPES = [
    ((4, 3), (3, 5), False, False),
    ((2, 4, 3), (3, 5), False, False),
    ((2, 1, 4, 3), (5, 3, 6), False, False),
    ((3, 4), (3, 5), True, False),
    ((4, 3), (5, 3), False, True),
    ((2, 3, 4), (2, 5, 3), True, True),
    ((3,), (3, 5), False, False),
    ((2, 4, 3), (3,), False, False),
    ((3,), (3,), False, False),
]


@pytest.mark.parametrize(("left", "right", "transpose_x", "transpose_y"), SHAPES)
def test_matmul(
    run_op: Any, rng: np.random.Generator, left: Any, right: Any, transpose_x: Any, transpose_y: Any
) -> None:
    x, y = rng.normal(size=left).astype(np.float32), rng.normal(size=right).astype(np.float32)
    wide_x = np.swapaxes(x, -1, -2) if transpose_x else x
    wide_y = np.swapaxes(y, -1, -2) if transpose_y else y
    expected = np.matmul(wide_x.astype(np.float64), wide_y.astype(np.float64))
    result = run_op(
        "matmul", x=run_op.variable(x), y=run_op.variable(y), transpose_x=transpose_x, transpose_y=transpose_y
    )
    assert result.shape == expected.shape
    np.testing.assert_allclose(result, expected, rtol=RTOL, atol=RTOL)


def test_matmul_of_integers_is_exact(run_op: Any) -> None:
    x = np.array([[40000, -3], [7, 1]], np.int32)
    np.testing.assert_array_equal(run_op("matmul", x=run_op.variable(x), y=run_op.variable(x)), x @ x)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("weight_dtype", [np.float32, np.float16])
def test_linear(run_op: Any, rng: np.random.Generator, rank: int, weight_dtype: Any) -> None:
    x = rng.normal(size=(2, 3, 4)[3 - rank :]).astype(np.float32)
    weight, bias = rng.normal(size=(5, 4)).astype(weight_dtype), rng.normal(size=5).astype(np.float32)
    expected = x.astype(np.float64) @ weight.astype(np.float64).T + bias
    result = run_op("linear", x=run_op.variable(x), weight=weight, bias=bias)
    np.testing.assert_allclose(result, expected, rtol=RTOL, atol=RTOL)


def test_a_float16_weight_is_widened_by_slabs_without_a_trace(
    run_op: Any, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.interpreter.ops.linear.SLAB", 1 << 18)
    x = rng.normal(size=(3, 300)).astype(np.float32)
    weight = rng.normal(size=(5000, 300)).astype(np.float16)  # several slabs
    result = run_op("linear", x=run_op.variable(x), weight=weight, bias=np.ones(5000, np.float16))
    expected = x.astype(np.float64) @ weight.astype(np.float64).T + 1
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-4)  # 300 float32 terms


@pytest.mark.parametrize(
    ("left", "right", "equation"),
    [
        ((2, 3, 4, 5), (2, 5, 4, 6), "nchw,nwhu->nchu"),
        ((3, 4, 5), (5, 4, 6), "chw,whr->chr"),
        ((2, 3, 1, 5), (1, 5, 4, 6), "abcd,adce->abce"),
    ],
)
@pytest.mark.parametrize("precision", ["fp32", "fp16-blocked"])
def test_einsum(run_op: Any, rng: np.random.Generator, left: Any, right: Any, equation: str, precision: str) -> None:
    x, y = rng.normal(size=left).astype(np.float32), rng.normal(size=right).astype(np.float32)
    expected = np.einsum("...chw,...whu->...chu", x.astype(np.float64), y.astype(np.float64))
    result = run_op("einsum", values=(x, y), equation=equation, precision=precision)
    np.testing.assert_allclose(result, expected, rtol=RTOL, atol=RTOL)


@pytest.mark.parametrize("mask", [None, "float", "bool"])
def test_scaled_dot_product_attention(run_op: Any, rng: np.random.Generator, mask: Any) -> None:
    query, key, value = (rng.normal(size=(2, 3, n, e)).astype(np.float32) for n, e in ((4, 8), (6, 8), (6, 5)))
    allowed = np.tri(4, 6, 2, dtype=bool)
    given = {}
    scores = query.astype(np.float64) @ np.swapaxes(key, -1, -2).astype(np.float64) / np.sqrt(8)
    if mask == "bool":
        given = {"attn_mask": run_op.variable(allowed)}
    elif mask == "float":
        given = {"attn_mask": run_op.variable(np.where(allowed, 0, -1e9).astype(np.float32))}
    if mask:
        scores = np.where(allowed, scores, -np.inf)
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    expected = powers / powers.sum(axis=-1, keepdims=True) @ value.astype(np.float64)
    result = run_op("scaled_dot_product_attention", query=run_op.variable(query), key=key, value=value, **given)
    np.testing.assert_allclose(result, expected, rtol=RTOL, atol=RTOL)
