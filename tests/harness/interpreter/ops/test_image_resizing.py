"""Resizing against PyTorch's own interpolation, and against the grids that coremltools documents."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

SIZES = [(5, 7), (3, 4), (9, 2), (1, 1)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("align", "mode"), [(True, "STRICT_ALIGN_CORNERS"), (False, "UNALIGN_CORNERS")])
def test_linear_is_that_of_torch(run_op: Any, rng: np.random.Generator, size: Any, align: Any, mode: Any) -> None:
    x = rng.standard_normal((2, 3, 4, 5)).astype(np.float32)
    expected = interpolate(torch.from_numpy(x), size, mode="bilinear", align_corners=align).numpy()
    given = {"target_size_height": size[0], "target_size_width": size[1], "sampling_mode": mode}
    actual = run_op("resize_bilinear", opset=15, x=run_op.variable(x), **given)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-6)
    shape = np.array([0, *size], np.int32)
    actual = run_op("resize", opset=17, x=run_op.variable(x), shape=shape, resized_dims=2, sampling_mode=mode)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", SIZES)
def test_nearest_is_that_of_torch(run_op: Any, rng: np.random.Generator, size: Any) -> None:
    x = rng.standard_normal((1, 2, 4, 5)).astype(np.float32)
    expected = interpolate(torch.from_numpy(x), size, mode="nearest").numpy()
    given = {"target_size_height": size[0], "target_size_width": size[1]}
    np.testing.assert_array_equal(run_op("resize_nearest_neighbor", opset=15, x=run_op.variable(x), **given), expected)
    shape = np.array(size, np.int32)
    nearest = {"shape": shape, "resized_dims": 2, "interpolation_mode": "NEAREST_NEIGHBOR"}
    np.testing.assert_array_equal(run_op("resize", opset=17, x=run_op.variable(x), **nearest), expected)


@pytest.mark.parametrize("scale", [2.0, 1.5, 0.5])
@pytest.mark.parametrize("align", [True, False])
def test_scaling_is_that_of_torch(run_op: Any, rng: np.random.Generator, scale: Any, align: Any) -> None:
    x = rng.standard_normal((1, 2, 4, 6)).astype(np.float32)
    given = {"x": run_op.variable(x), "scale_factor_height": scale, "scale_factor_width": scale}
    linear = interpolate(
        torch.from_numpy(x), scale_factor=scale, mode="bilinear", align_corners=align, recompute_scale_factor=True
    ).numpy()
    actual = run_op("upsample_bilinear", opset=16, align_corners=align, **given)
    np.testing.assert_allclose(actual, linear, rtol=0, atol=1e-6)
    nearest = interpolate(torch.from_numpy(x), scale_factor=scale, mode="nearest").numpy()
    np.testing.assert_array_equal(run_op("upsample_nearest_neighbor", opset=15, **given), nearest)


@pytest.mark.parametrize(
    ("mode", "size", "grid"),
    [
        ("UNALIGN_CORNERS", 5, [0.0, 0.1, 0.5, 0.9, 1.0]),
        ("STRICT_ALIGN_CORNERS", 5, [0.0, 0.25, 0.5, 0.75, 1.0]),
        ("ALIGN_CORNERS", 5, [0.0, 0.25, 0.5, 0.75, 1.0]),
        ("ALIGN_CORNERS", 1, [0.5]),
        ("STRICT_ALIGN_CORNERS", 1, [0.0]),
        ("DEFAULT", 5, [0.0, 0.4, 0.8, 1.0, 1.0]),
        ("OFFSET_CORNERS", 5, [0.1, 0.3, 0.5, 0.7, 0.9]),
    ],
)
def test_the_documented_grids(run_op: Any, mode: Any, size: Any, grid: Any) -> None:
    x = np.array([[[0.0, 1.0]]], np.float32)  # its values are its positions
    given = {"target_size_height": 1, "target_size_width": size, "sampling_mode": mode}
    actual = run_op("resize_bilinear", opset=15, x=run_op.variable(x), **given)
    np.testing.assert_allclose(actual[0, 0], grid, rtol=0, atol=1e-6)


def test_integers_and_an_unknown_mode(run_op: Any) -> None:
    x = np.arange(6, dtype=np.int32).reshape(1, 6)
    shape = np.array([1, 3], np.int32)
    actual = run_op("resize", opset=17, x=run_op.variable(x), shape=shape, resized_dims=1, out="int32")
    assert actual.tolist() == [[0, 2, 4]]
    with pytest.raises(RuntimeError, match="expected a sampling mode of STRICT_ALIGN_CORNERS"):
        run_op("resize", opset=17, x=run_op.variable(x), shape=shape, resized_dims=1, sampling_mode="X", out="int32")
