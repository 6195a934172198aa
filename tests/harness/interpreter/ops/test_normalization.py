"""Normalisations against float64 formulas, on rows with spikes, zeros and float16's largest number."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

FP16_ULP = 2.0**-10
RTOL = 3e-6  # mean, variance, root and quotient in float32


def layer_norm(x: Any, axes: Any, gamma: Any = 1.0, beta: Any = 0.0, epsilon: Any = 1e-5) -> Any:
    wide = x.astype(np.float64)
    centred = wide - wide.mean(axis=axes, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=axes, keepdims=True) + epsilon) * gamma + beta


def rms_norm(x: Any, gamma: Any = 1.0, epsilon: Any = 1e-5) -> Any:
    wide = x.astype(np.float64)
    return wide / np.sqrt((wide**2).mean(axis=-1, keepdims=True) + epsilon) * gamma


def rows(dtype: Any) -> Any:
    x = np.random.default_rng(7).normal(size=(5, 64))
    x[1, 3] = 300.0
    x[2] = 0.0
    x[3, 5] = 65504.0
    x[4] *= 1e-3
    return x.astype(dtype)


@pytest.mark.parametrize("axes", [(-1,), (1, 2), (0, 1, 2)])
def test_layer_norm(run_op: Any, rng: np.random.Generator, axes: Any) -> None:
    x = rng.normal(size=(2, 3, 4)).astype(np.float32)
    shape = tuple(x.shape[a] for a in axes)
    gamma, beta = rng.normal(size=shape).astype(np.float32), rng.normal(size=shape).astype(np.float32)
    result = run_op(
        "layer_norm",
        x=run_op.variable(x),
        axes=np.array(axes, np.int32),
        gamma=gamma,
        beta=beta,
        epsilon=1e-3,
    )
    np.testing.assert_allclose(result, layer_norm(x, axes, gamma, beta, 1e-3), rtol=RTOL, atol=RTOL)


def test_layer_norm_of_all_axes_by_default(run_op: Any, rng: np.random.Generator) -> None:
    x = rng.normal(size=(2, 3)).astype(np.float32)
    np.testing.assert_allclose(run_op("layer_norm", x=run_op.variable(x)), layer_norm(x, (0, 1)), rtol=RTOL, atol=RTOL)


def test_layer_norm_rounds_once_in_float16(run_op: Any) -> None:
    x = rows(np.float16)
    result = run_op("layer_norm", x=run_op.variable(x), axes=np.array([-1], np.int32), precision="fp16")
    np.testing.assert_allclose(result, layer_norm(x, (-1,)), rtol=FP16_ULP, atol=1e-6)


def test_layer_norm_of_x_and_minus_x_is_the_rms_norm(run_op: Any) -> None:
    x = rows(np.float16)
    both = np.concatenate([x, -x], axis=-1)
    result = run_op("layer_norm", x=run_op.variable(both), axes=np.array([-1], np.int32), precision="fp16")
    np.testing.assert_allclose(result[:, :64], rms_norm(x), rtol=FP16_ULP, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("epsilon", [0.0, 1e-6, 1e-5])
def test_ane_rms_norm(run_op: Any, dtype: Any, epsilon: Any) -> None:
    x = rows(dtype)[[0, 1, 3, 4]]
    gamma = np.linspace(0.5, 2.0, 64).astype(dtype)
    # epsilon is given in float32, as iOS 17 allows beside float16
    result = run_op("ane_rms_norm", x=run_op.variable(x), gamma=gamma, epsilon=np.float32(epsilon), precision="fp16")
    expected = rms_norm(x, gamma.astype(np.float64), float(np.float32(epsilon)))
    np.testing.assert_allclose(result, expected, rtol=FP16_ULP if dtype == np.float16 else RTOL, atol=1e-6)


def test_ane_rms_norm_defaults_and_edges(run_op: Any) -> None:
    one = np.array([[300.0], [0.0]], np.float32)
    np.testing.assert_allclose(run_op("ane_rms_norm", x=run_op.variable(one)), [[1.0], [0.0]], rtol=RTOL)
    axes = run_op("ane_rms_norm", x=run_op.variable(np.ones((2, 3, 4), np.float32)), axes=np.array([1, 2], np.int32))
    np.testing.assert_allclose(axes, np.ones((2, 3, 4)) / np.sqrt(1 + 1e-5), rtol=RTOL)


@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 3, 4, 5)])
def test_batch_and_instance_norm_agree_with_torch(run_op: Any, rng: np.random.Generator, shape: Any) -> None:
    x = rng.normal(size=shape).astype(np.float32)
    mean, gamma, beta = (rng.normal(size=3).astype(np.float32) for _ in range(3))
    variance = rng.uniform(0.5, 2.0, size=3).astype(np.float32)
    tensors = [torch.from_numpy(a).double() for a in (x, mean, variance, gamma, beta)]
    batch = torch.nn.functional.batch_norm(*tensors, eps=1e-3)
    result = run_op(
        "batch_norm", x=run_op.variable(x), mean=mean, variance=variance, gamma=gamma, beta=beta, epsilon=1e-3
    )
    np.testing.assert_allclose(result, batch.numpy(), rtol=RTOL, atol=RTOL)
    instance = torch.nn.functional.instance_norm(tensors[0], weight=tensors[3], bias=tensors[4], eps=1e-3)
    result = run_op("instance_norm", x=run_op.variable(x), gamma=gamma, beta=beta, epsilon=1e-3)
    np.testing.assert_allclose(result, instance.numpy(), rtol=RTOL, atol=RTOL)


def test_l2_norm_is_over_the_last_three_axes(run_op: Any, rng: np.random.Generator) -> None:
    x = rng.normal(size=(2, 3, 4, 5)).astype(np.float32)
    wide = x.astype(np.float64)
    expected = wide / np.sqrt((wide**2).sum(axis=(1, 2, 3), keepdims=True) + 1e-6)
    np.testing.assert_allclose(run_op("l2_norm", x=run_op.variable(x)), expected, rtol=RTOL)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_local_response_norm_agrees_with_torch(run_op: Any, rng: np.random.Generator, size: int) -> None:
    x = rng.normal(size=(2, 6, 3)).astype(np.float32)
    expected = torch.nn.functional.local_response_norm(torch.from_numpy(x).double(), size, 0.01, 0.75, 1.0)
    result = run_op("local_response_norm", x=run_op.variable(x), size=size, alpha=0.01)
    np.testing.assert_allclose(result, expected.numpy(), rtol=RTOL)
