"""Convolutions against torch in float64, under every padding, and under float16 accumulators."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

RTOL = 5e-6  # float32 sums of a few dozen products
CONV = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
TRANSPOSED = {1: functional.conv_transpose1d, 2: functional.conv_transpose2d, 3: functional.conv_transpose3d}


def wide(array: Any) -> Any:
    return torch.from_numpy(array).double()


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("spatial", [1, 2, 3])
@pytest.mark.parametrize("precision", ["fp32", "fp16-sequential"])
def test_conv(run_op: Any, rng: np.random.Generator, spatial: int, groups: int, precision: str) -> None:
    x = rng.normal(size=(2, 4, *(7, 6, 5)[:spatial])).astype(np.float32)
    weight = rng.normal(size=(6, 4 // groups, *(3, 2, 2)[:spatial])).astype(np.float32)
    bias = rng.normal(size=6).astype(np.float32)
    strides, dilations = (2, 1, 1)[:spatial], (1, 2, 1)[:spatial]
    pad = (1, 0, 2, 1, 0, 1)[: 2 * spatial]
    padded = functional.pad(wide(x), [p for i in reversed(range(spatial)) for p in pad[2 * i : 2 * i + 2]])
    expected = CONV[spatial](padded, wide(weight), wide(bias), strides, 0, dilations, groups)
    result = run_op(
        "conv",
        x=run_op.variable(x),
        weight=weight,
        bias=bias,
        strides=np.array(strides, np.int32),
        dilations=np.array(dilations, np.int32),
        pad=np.array(pad, np.int32),
        pad_type="custom",
        groups=groups,
        precision=precision,
    )
    np.testing.assert_allclose(result, expected.numpy(), rtol=RTOL, atol=RTOL)


@pytest.mark.parametrize(("pad_type", "first"), [("same", 0), ("same_lower", 1)])
def test_same_puts_the_odd_element_after_or_before(run_op: Any, pad_type: str, first: Any) -> None:
    x, weight = np.arange(4, dtype=np.float32).reshape(1, 1, 4), np.array([[[1.0, 10.0]]], np.float32)
    result = run_op("conv", x=run_op.variable(x), weight=weight, pad_type=pad_type)
    padded = np.array([0, 0, 1, 2, 3], np.float32) if first else np.array([0, 1, 2, 3, 0], np.float32)
    np.testing.assert_allclose(result[0, 0], padded[:-1] + 10 * padded[1:])


@pytest.mark.parametrize("order", ["fp16-sequential", "fp16-blocked"])
def test_a_float16_accumulator_is_near_and_not_equal(run_op: Any, rng: np.random.Generator, order: str) -> None:
    x = rng.uniform(0, 1, size=(1, 64, 4, 4)).astype(np.float16)
    weight = rng.uniform(0, 1, size=(3, 64, 3, 3)).astype(np.float16)
    exact = functional.conv2d(wide(x), wide(weight)).numpy()
    arguments = {"x": run_op.variable(x), "weight": weight, "pad_type": "valid"}
    narrow = run_op("conv", precision=order, **arguments).astype(np.float64)
    once = run_op("conv", precision="fp16", **arguments).astype(np.float64)
    error, rounding = np.abs(narrow - exact).max(), np.abs(once - exact).max()
    assert rounding < error < 0.03 * exact.max()


@pytest.mark.parametrize("precision", ["fp32", "fp16-blocked"])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("spatial", [1, 2, 3])
def test_conv_transpose(run_op: Any, rng: np.random.Generator, spatial: int, groups: int, precision: str) -> None:
    dtype, rtol = (np.float32, RTOL) if precision == "fp32" else (np.float16, 2e-2)
    x = rng.normal(size=(2, 4, *(4, 5, 3)[:spatial])).astype(dtype)
    weight = rng.normal(size=(4, 6 // groups, *(3, 2, 2)[:spatial])).astype(dtype)
    strides, dilations = (2, 1, 1)[:spatial], (1, 2, 1)[:spatial]
    full = TRANSPOSED[spatial](wide(x), wide(weight), None, strides, 0, 0, groups, dilations)
    given = {
        "x": run_op.variable(x),
        "weight": weight,
        "strides": np.array(strides, np.int32),
        "dilations": np.array(dilations, np.int32),
        "groups": groups,
        "precision": precision,
    }
    result = run_op("conv_transpose", pad_type="valid", **given)
    np.testing.assert_allclose(result, full.numpy(), rtol=rtol, atol=rtol)
    pad = np.array([1, 1] * spatial, np.int32)
    cropped = full[(slice(None), slice(None), *[slice(1, -1)] * spatial)]
    result = run_op("conv_transpose", pad_type="custom", pad=pad, **given)
    np.testing.assert_allclose(result, cropped.numpy(), rtol=rtol, atol=rtol)


def test_conv_transpose_to_a_given_output_shape(run_op: Any, rng: np.random.Generator) -> None:
    x = rng.normal(size=(1, 2, 5, 5)).astype(np.float32)
    weight = rng.normal(size=(2, 3, 3, 3)).astype(np.float32)
    bias = rng.normal(size=3).astype(np.float32)
    expected = functional.conv_transpose2d(wide(x), wide(weight), wide(bias), 2, padding=1, output_padding=1)
    result = run_op(
        "conv_transpose",
        x=run_op.variable(x),
        weight=weight,
        bias=bias,
        strides=np.array([2, 2], np.int32),
        pad=np.array([1, 1, 1, 1], np.int32),
        pad_type="custom",
        output_shape=np.array(expected.shape, np.int32),
    )
    np.testing.assert_allclose(result, expected.numpy(), rtol=RTOL, atol=RTOL)
