"""Crops of images, and boxes of them that are resized.

The boxes follow coremltools' documentation of ``crop_resize`` and the expected values of its tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from harness.interpreter.ops.image_resizing import SAMPLING
from harness.interpreter.points import bilinear, clamped, within
from harness.interpreter.registry import impl

if TYPE_CHECKING:
    from torch import Tensor

    from harness.interpreter.registry import Ints

BOXES = {
    "CORNERS_HEIGHT_FIRST": lambda a, b, c, d: (a, b, c, d),
    "CORNERS_WIDTH_FIRST": lambda a, b, c, d: (b, a, d, c),
    "CENTER_SIZE_HEIGHT_FIRST": lambda a, b, c, d: (a - c / 2, b - d / 2, a + c / 2, b + d / 2),
    "CENTER_SIZE_WIDTH_FIRST": lambda a, b, c, d: (b - d / 2, a - c / 2, b + d / 2, a + c / 2),
}
"""From the four numbers of a box to ``(h_start, w_start, h_end, w_end)``."""


@impl("crop", moves=True)
def crop(x: Tensor, crop_height: Ints, crop_width: Ints) -> Tensor:
    """Cut pixels off both ends of the last two dimensions."""
    (top, bottom), (left, right) = crop_height, crop_width
    return x[..., top : x.shape[-2] - bottom, left : x.shape[-1] - right]


@impl("crop_resize")
def crop_resize(
    x: Tensor,
    roi: Tensor,
    target_height: int = 1,
    target_width: int = 1,
    *,
    normalized_coordinates: bool = False,
    spatial_scale: float = 1.0,
    box_coordinate_mode: str = "CORNERS_HEIGHT_FIRST",
    sampling_mode: str = "DEFAULT",
) -> Tensor:
    """Resize boxes of ``[B, C, H, W]``: ``[N, 1, 4, 1, 1]`` of every image, or ``[N, 1, 5, 1, 1]`` of image ``roi[0]``.

    A point outside of the image takes the value at its edge, because iOS 15 has no other value for it.
    """
    how = (normalized_coordinates, spatial_scale, box_coordinate_mode, sampling_mode)
    return _of_regions(x, roi, (target_height, target_width), how, None)


@impl("crop_resize", since=16)
def crop_resize_padded(
    x: Tensor,
    roi: Tensor,
    target_height: int = 1,
    target_width: int = 1,
    *,
    normalized_coordinates: bool = False,
    spatial_scale: float = 1.0,
    box_coordinate_mode: str = "CORNERS_HEIGHT_FIRST",
    sampling_mode: str = "DEFAULT",
    pad_value: float = 0.0,
) -> Tensor:
    """Resize boxes as in iOS 15; a point outside of the image takes ``pad_value``."""
    how = (normalized_coordinates, spatial_scale, box_coordinate_mode, sampling_mode)
    return _of_regions(x, roi, (target_height, target_width), how, pad_value)


@impl("crop_resize", since=17)
def crop_resize_boxes(
    x: Tensor,
    boxes: Tensor,
    box_indices: Tensor | None = None,
    target_height: int = 1,
    target_width: int = 1,
    *,
    normalized_coordinates: bool = False,
    spatial_scale: float = 1.0,
    box_coordinate_mode: str = "CORNERS_HEIGHT_FIRST",
    sampling_mode: str = "DEFAULT",
    pad_value: float = 0.0,
) -> Tensor:
    """Resize box ``i`` of ``[N, 4]`` from image ``box_indices[i]``, by default image ``i``: ``[N, C, h, w]``."""
    images = torch.arange(len(boxes)) if box_indices is None else box_indices.long()
    how = (normalized_coordinates, spatial_scale, box_coordinate_mode, sampling_mode)
    return _resized_boxes(x[images], boxes, (target_height, target_width), how, pad_value)


def _of_regions(x: Tensor, roi: Tensor, target: Ints, how: tuple[bool, float, str, str], pad: float | None) -> Tensor:
    """Return ``[N, B, C, h, w]``, or ``[N, 1, C, h, w]`` for regions that name their image."""
    regions = roi.reshape(len(roi), -1)
    if regions.shape[1] == 5:
        return _resized_boxes(x[regions[:, 0].long()], regions[:, 1:], target, how, pad).unsqueeze(1)
    number, images = len(regions), len(x)
    every = x.expand(number, *x.shape).flatten(0, 1)
    values = _resized_boxes(every, regions.repeat_interleave(images, 0), target, how, pad)
    return values.reshape(number, images, *values.shape[1:])


def _resized_boxes(
    x: Tensor, boxes: Tensor, target: Ints, how: tuple[bool, float, str, str], pad: float | None
) -> Tensor:
    """Resize one box of each image, linearly."""
    normalized, scale, corners, mode = how
    if corners not in BOXES or mode not in SAMPLING:
        raise ValueError(f"expected one of {', '.join(BOXES)} and of {', '.join(SAMPLING)}, got {corners!r}, {mode!r}")
    top, left, bottom, right = BOXES[corners](*(boxes.double() * scale).unbind(1))
    sizes = [n - 1 if normalized else 1 for n in x.shape[-2:]]
    heights = _grid(top * sizes[0], bottom * sizes[0], target[0], mode)
    widths = _grid(left * sizes[1], right * sizes[1], target[1], mode)
    shape = (len(x), *target)
    heights, widths = heights[:, :, None].expand(shape), widths[:, None, :].expand(shape)
    values = bilinear(x, clamped(heights, x.shape[-2]), clamped(widths, x.shape[-1]), 0.0)
    if pad is None:
        return values
    inside = within(heights, x.shape[-2]) & within(widths, x.shape[-1])
    return torch.where(inside[:, None], values, pad)


def _grid(start: Tensor, end: Tensor, number: int, mode: str) -> Tensor:
    """Return ``[N, number]`` points from ``start`` to ``end``, which may be less, as the sampling mode sets them.

    A box of length ``e`` is sampled like an image of ``e + 1`` pixels, and its points stay inside the box.
    """
    length = (end - start).abs()[:, None]
    index = torch.arange(number, dtype=torch.float64)
    rows = [SAMPLING[mode](index, float(one) + 1, number).clamp(0, float(one)) for one in length]
    return start[:, None] + (end - start).sign()[:, None] * torch.stack(rows)
