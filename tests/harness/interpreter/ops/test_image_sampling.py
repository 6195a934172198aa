"""Sampling against PyTorch's ``grid_sample`` and ``affine_grid``, coremltools' own expected values, and formulas."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import affine_grid, conv2d, grid_sample

COUNT = np.arange(1, 17, dtype=np.float32).reshape(1, 1, 4, 4)
"""The image of coremltools' tests, whose value at ``(h, w)`` is ``1 + 4 h + w``."""
PADDINGS = {"constant": "zeros", "border": "border"}


def test_crop_cuts_both_ends(run_op: Any) -> None:
    actual = run_op("crop", x=run_op.variable(COUNT), crop_height=np.array([1, 0]), crop_width=np.array([1, 2]))
    np.testing.assert_array_equal(actual, COUNT[:, :, 1:, 1:2])


@pytest.mark.parametrize(
    ("roi", "size", "normalized", "expected"),
    [
        ([1, 1, 2, 2], 2, False, [6, 7, 10, 11]),
        ([1, 1, 2, 2], 1, False, [8.5]),
        ([0, 0.0, 0.0, 1 / 3, 1 / 3], 2, True, [1, 2, 5, 6]),
        ([2, 2, 1, 1], 2, False, [11, 10, 7, 6]),
    ],
)
def test_the_boxes_of_coremltools_tests(run_op: Any, roi: Any, size: Any, normalized: Any, expected: Any) -> None:
    given = {"target_height": size, "target_width": size, "sampling_mode": "ALIGN_CORNERS"}
    box = np.array(roi, np.float32).reshape(1, 1, -1, 1, 1)
    actual = run_op(
        "crop_resize", opset=15, x=run_op.variable(COUNT), roi=box, normalized_coordinates=normalized, **given
    )
    np.testing.assert_allclose(actual, np.reshape(expected, (1, 1, 1, size, size)), atol=1e-5)


def test_a_box_past_the_image_is_padded_from_ios_16(run_op: Any) -> None:
    """The boxes and values of coremltools' test of iOS 17."""
    boxes = np.array([[0.1, 0.3, 1.3, 1.0], [0.5, 1.8, 1.0, 0.3], [0.0, 0.4, 0.6, 0.7]], np.float32)
    given = {"target_height": 2, "target_width": 2, "normalized_coordinates": True, "sampling_mode": "ALIGN_CORNERS"}
    actual = run_op(
        "crop_resize",
        opset=17,
        x=run_op.variable(COUNT),
        boxes=boxes,
        box_indices=np.zeros(3, np.int32),
        pad_value=10.0,
        **given,
    )
    expected = [3.1, 5.2, 10.0, 10.0, 10.0, 7.9, 10.0, 13.9, 2.2, 3.1, 9.4, 10.3]
    np.testing.assert_allclose(actual.reshape(-1), expected, atol=1e-5)
    roi = boxes.reshape(3, 1, 4, 1, 1)
    clamped = run_op("crop_resize", opset=15, x=run_op.variable(COUNT), roi=roi, **given)
    assert clamped[0, 0, 0].tolist() == pytest.approx(np.array([[3.1, 5.2], [13.9, 16.0]]), abs=1e-5)


def test_a_crop_without_boxes_says_so(run_op: Any) -> None:
    with pytest.raises(RuntimeError, match="expected boxes in `roi`, or from iOS 17 on in `boxes`"):
        run_op("crop_resize", opset=17, x=run_op.variable(COUNT))


@pytest.mark.parametrize(
    ("mode", "box"),
    [
        ("CORNERS_HEIGHT_FIRST", [0.5, 1, 2.5, 2]),
        ("CORNERS_WIDTH_FIRST", [1, 0.5, 2, 2.5]),
        ("CENTER_SIZE_HEIGHT_FIRST", [1.5, 1.5, 2, 1]),
        ("CENTER_SIZE_WIDTH_FIRST", [1.5, 1.5, 1, 2]),
    ],
)
def test_four_ways_to_write_one_box(run_op: Any, mode: Any, box: Any) -> None:
    given = {"boxes": np.array([box], np.float32), "target_height": 3, "target_width": 2, "box_coordinate_mode": mode}
    actual = run_op("crop_resize", opset=17, x=run_op.variable(COUNT), sampling_mode="STRICT_ALIGN_CORNERS", **given)
    np.testing.assert_allclose(actual[0, 0], [[1 + 4 * h + w for w in (1, 2)] for h in (0.5, 1.5, 2.5)], atol=1e-5)


def test_each_box_is_cut_from_its_image(run_op: Any, rng: np.random.Generator) -> None:
    x = rng.standard_normal((2, 3, 4, 5)).astype(np.float32)
    boxes = np.array([[0, 0, 3, 4]] * 3, np.float32)
    given = {"target_height": 4, "target_width": 5, "sampling_mode": "STRICT_ALIGN_CORNERS"}
    images = np.array([1, 0, 1], np.int32)
    actual = run_op("crop_resize", opset=17, x=run_op.variable(x), boxes=boxes, box_indices=images, **given)
    np.testing.assert_allclose(actual, x[[1, 0, 1]], atol=1e-6)
    for opset in (15, 16):
        every = run_op("crop_resize", opset=opset, x=run_op.variable(x), roi=boxes.reshape(3, 1, 4, 1, 1), **given)
        np.testing.assert_allclose(every, np.stack([x] * 3), atol=1e-6)
        numbered = np.concatenate([images[:, None].astype(np.float32), boxes], 1).reshape(3, 1, 5, 1, 1)
        named = run_op("crop_resize", opset=opset, x=run_op.variable(x), roi=numbered, **given)
        np.testing.assert_allclose(named[:, 0], x[[1, 0, 1]], atol=1e-6)


def test_region_of_interest_is_sampled_in_the_middle_of_its_bins(run_op: Any) -> None:
    """RoI Align takes bin ``i`` of ``m`` at ``start + (i + 1/2) length / m``, the coordinates scaled before."""
    given = {"boxes": np.array([[2, 2, 6, 6]], np.float32), "target_height": 2, "target_width": 2}
    actual = run_op(
        "crop_resize",
        opset=17,
        x=run_op.variable(COUNT),
        spatial_scale=0.5,
        sampling_mode="OFFSET_CORNERS",
        **given,
    )
    np.testing.assert_allclose(actual[0, 0], [[1 + 4 * h + w for w in (1.5, 2.5)] for h in (1.5, 2.5)], atol=1e-5)


@pytest.mark.parametrize("align", [True, False])
@pytest.mark.parametrize("sampling", ["bilinear", "nearest"])
@pytest.mark.parametrize("padding", ["constant", "border", "reflection"])
def test_resample_is_grid_sample(
    run_op: Any, rng: np.random.Generator, padding: Any, sampling: Any, align: Any
) -> None:
    x = rng.standard_normal((2, 3, 4, 5)).astype(np.float32)
    grid = rng.uniform(-2.5, 2.5, (2, 6, 7, 2)).astype(np.float32)
    names = {"mode": sampling, "padding_mode": PADDINGS.get(padding, padding), "align_corners": align}
    expected = grid_sample(torch.from_numpy(x).double(), torch.from_numpy(grid).double(), **names).numpy()
    mirrored = "symmetric" if padding == "reflection" and not align else padding  # as coremltools' frontend has it
    given = {"sampling_mode": sampling, "padding_mode": mirrored, "padding_value": 0.0, "align_corners": align}
    places = run_op.variable(grid)
    mode = "normalized_minus_one_to_one"
    actual = run_op("resample", x=run_op.variable(x), coordinates=places, coordinates_mode=mode, **given)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=2e-6)
    halved = run_op.variable((grid + 1) / 2)
    mode = "normalized_zero_to_one"
    actual = run_op("resample", x=run_op.variable(x), coordinates=halved, coordinates_mode=mode, **given)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5)


def test_pixels_by_their_numbers_and_a_padding_value(run_op: Any) -> None:
    places = np.array([[[[0, 0], [3, 1], [-1, 0], [5, 5]]]], np.int32)
    actual = run_op(
        "resample",
        x=run_op.variable(COUNT),
        coordinates=places,
        sampling_mode="bilinear",
        padding_mode="constant",
        padding_value=7.0,
        coordinates_mode="unnormalized",
        align_corners=True,
        out="fp32",
    )
    assert actual.tolist() == [[[[1, 8, 7, 7]]]]


@pytest.mark.parametrize("matrices", [1, 2])
def test_affine_is_affine_grid_and_grid_sample(run_op: Any, rng: np.random.Generator, matrices: Any) -> None:
    x = rng.standard_normal((2, 3, 4, 5)).astype(np.float32)
    matrix = rng.standard_normal((matrices, 2, 3)).astype(np.float32)
    theta = torch.from_numpy(matrix).double().expand(2, -1, -1)
    grid = affine_grid(theta, [2, 3, 6, 7], align_corners=True)
    expected = grid_sample(torch.from_numpy(x).double(), grid, align_corners=True).numpy()
    actual = run_op(
        "affine",
        x=run_op.variable(x),
        transform_matrix=run_op.variable(matrix.reshape(-1, 6)),
        output_height=6,
        output_width=7,
        sampling_mode="bilinear",
        padding_mode="constant",
        padding_value=0.0,
        coordinates_mode="normalized_minus_one_to_one",
        align_corners=True,
    )
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("scale", [np.float32(0.25), np.array([0.25, 0.5], np.float32)])
def test_a_convolution_of_codes(run_op: Any, rng: np.random.Generator, scale: Any) -> None:
    x = rng.standard_normal((1, 3, 5, 5)).astype(np.float32)
    codes = rng.integers(0, 256, (2, 3, 2, 2)).astype(np.uint8)
    exact = codes * np.broadcast_to(scale, 2).reshape(2, 1, 1, 1) - 3.0
    expected = conv2d(torch.from_numpy(x).double(), torch.from_numpy(exact).double()).numpy()
    given = {"quantization_type": "linear", "quant_scale": scale, "quant_bias": np.float32(-3)}
    actual = run_op("conv_quantized", x=run_op.variable(x), weight=codes, out="fp32", **given)
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-3)
    with pytest.raises(RuntimeError, match="expected the quantization type linear, got 'lut'"):
        run_op(
            "conv_quantized", x=run_op.variable(x), weight=codes, out="fp32", **{**given, "quantization_type": "lut"}
        )
