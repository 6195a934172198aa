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

    from harness.interpreter.context import Context
    from harness.interpreter.registry import Ints

BOXES = {
    "CORNERS_HEIGHT_FIRST": lambda a, b, c, d: (a, b, c, d),
    "CORNERS_WIDTH_FIRST": lambda a, b, c, d: (b, a, d, c),
    "CENTER_SIZE_HEIGHT_FIRST": lambda a, b, c, d: (a - c / 2, b - d / 2, a + c / 2, b + d / 2),
    "CENTER_SIZE_WIDTH_FIRST": lambda a, b, c, d: (b - d / 2, a - c / 2, b + d / 2, a + c / 2),
}
"""From the four numbers of a box to ``(h_start, w_start, h_end, w_end)``."""

FIRST_PADDED = 16
"""The first iOS version in which ``crop_resize`` has a value for points outside of the image."""


@impl("crop", moves=True)
def crop(x: Tensor, crop_height: Ints, crop_width: Ints) -> Tensor:
    """Cut pixels off both ends of the last two dimensions."""
    (top, bottom), (left, right) = crop_height, crop_width
    return x[..., top : x.shape[-2] - bottom, left : x.shape[-1] - right]


@impl("crop_resize")
def crop_resize(
    ctx: Context,
    x: Tensor,
    roi: Tensor | None = None,
    boxes: Tensor | None = None,
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
    """Resize boxes of the images ``[B, C, H, W]``.

    Before iOS 17, ``roi`` is ``[N, 1, 4, 1, 1]``, a box of every image, or ``[N, 1, 5, 1, 1]``, a box of image
    ``roi[0]``. From iOS 17 on, ``boxes`` is ``[N, 4]``, and box ``i`` is of image ``box_indices[i]``, by default ``i``.
    A point outside of the image takes the value at its edge in iOS 15, which has no ``pad_value``, and ``pad_value``
    later.

    Raises
    ------
    ValueError: without the parameter that holds the boxes, or for an unknown mode.
    """
    how = (normalized_coordinates, spatial_scale, box_coordinate_mode, sampling_mode)
    target, pad = (target_height, target_width), (pad_value if ctx.op.opset >= FIRST_PADDED else None)
    if boxes is not None:
        images = torch.arange(len(boxes)) if box_indices is None else box_indices.long()
        return _resized_boxes(x[images], boxes, target, how, pad)
    if roi is None:
        raise ValueError("expected boxes in `roi`, or from iOS 17 on in `boxes`")
    return _of_regions(x, roi, target, how, pad)


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
