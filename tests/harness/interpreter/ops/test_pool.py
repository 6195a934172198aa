"""Pooling against torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

MAX = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}
AVG = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}
RTOL = 2e-6


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("spatial", [1, 2, 3])
def test_max_and_avg(run_op: Any, rng: np.random.Generator, spatial: int, ceil_mode: Any) -> None:
    x = rng.normal(size=(2, 3, *(7, 6, 5)[:spatial])).astype(np.float32) - 3  # below zero: padding must not win
    kernel, strides, pad = (3, 2, 2)[:spatial], (2, 2, 1)[:spatial], (1, 1, 0)[:spatial]
    given = {
        "x": run_op.variable(x),
        "kernel_sizes": np.array(kernel, np.int32),
        "strides": np.array(strides, np.int32),
        "pad": np.repeat(np.array(pad, np.int32), 2),
        "pad_type": "custom",
        "ceil_mode": ceil_mode,
    }
    wide = torch.from_numpy(x).double()
    expected = MAX[spatial](wide, kernel, strides, pad, ceil_mode=ceil_mode)
    np.testing.assert_allclose(run_op("max_pool", **given), expected.numpy(), rtol=RTOL)
    for exclude in (False, True):
        expected = AVG[spatial](wide, kernel, strides, pad, ceil_mode, count_include_pad=not exclude)
        result = run_op("avg_pool", exclude_padding_from_average=exclude, **given)
        np.testing.assert_allclose(result, expected.numpy(), rtol=RTOL)


def test_l2_pool(run_op: Any, rng: np.random.Generator) -> None:
    x = rng.normal(size=(1, 2, 6, 6)).astype(np.float32)
    expected = functional.lp_pool2d(torch.from_numpy(x).double(), 2.0, 2, 2)
    result = run_op(
        "l2_pool",
        x=run_op.variable(x),
        kernel_sizes=np.array([2, 2], np.int32),
        strides=np.array([2, 2], np.int32),
        pad_type="valid",
    )
    np.testing.assert_allclose(result, expected.numpy(), rtol=RTOL)


@pytest.mark.parametrize("pad_type", ["same", "same_lower"])
def test_same_covers_every_element(run_op: Any, pad_type: str) -> None:
    x = np.arange(1.0, 6.0, dtype=np.float32).reshape(1, 1, 5)
    result = run_op(
        "max_pool",
        x=run_op.variable(x),
        kernel_sizes=np.array([2], np.int32),
        strides=np.array([2], np.int32),
        pad_type=pad_type,
    )
    assert result[0, 0].tolist() == ([2, 4, 5] if pad_type == "same" else [1, 3, 5])


def test_an_average_in_float16_steps_stays_near(run_op: Any, rng: np.random.Generator) -> None:
    x = rng.uniform(size=(1, 1, 64)).astype(np.float16)
    given = {"x": run_op.variable(x), "kernel_sizes": np.array([64], np.int32), "pad_type": "valid"}
    result = run_op("avg_pool", precision="fp16-sequential", **given)
    np.testing.assert_allclose(result, x.astype(np.float64).mean(), rtol=2e-2)  # 64 roundings of 2**-11
