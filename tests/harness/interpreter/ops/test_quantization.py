"""quantize and dequantize against their formulas."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_quantize_rounds_halves_to_even_and_saturates(run_op: Any, dtype: Any) -> None:
    x = np.array([0.5, 1.5, -0.5, 1000.0, -1000.0], np.float32)
    zero_point = dtype(3)
    result = run_op(
        "quantize",
        input=run_op.variable(x),
        scale=1.0,
        zero_point=zero_point,
        output_dtype=np.dtype(dtype).name,
        out=np.dtype(dtype).name,
    )
    limits = np.iinfo(dtype)
    np.testing.assert_array_equal(result, np.clip(np.round(x) + 3, limits.min, limits.max).astype(dtype))


def test_quantize_by_axis(run_op: Any) -> None:
    x = np.array([[1.0, 2.0], [1.0, 2.0]], np.float32)
    result = run_op(
        "quantize",
        input=run_op.variable(x),
        scale=np.array([0.5, 1.0], np.float32),
        axis=-1,
        output_dtype="int8",
        out="int8",
    )
    assert result.tolist() == [[2, 2], [2, 2]]


def test_dequantize(run_op: Any) -> None:
    x = np.array([[-128, 127], [0, 1]], np.int8)
    scale, zero_point = np.array([0.5, 2.0], np.float16), np.array([1, -1], np.int8)
    result = run_op(
        "dequantize",
        input=run_op.variable(x),
        scale=scale,
        zero_point=zero_point,
        axis=0,
        out="fp16",
        precision="fp16",
    )
    assert result.dtype == np.float16
    np.testing.assert_array_equal(result, [[-64.5, 63.0], [2.0, 4.0]])
