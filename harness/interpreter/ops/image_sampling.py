"""Sampling of images at coordinates and under affine transforms.

A point ``(h, w)`` between four pixels takes their values in proportion to its distances; ``nearest`` takes the pixel
at the rounded point, ties to even as in PyTorch, since Core ML does not say. Where a pixel outside of the image is
asked for, each op says what stands there. Sources: coremltools' documentation of these ops, and PyTorch's
``grid_sample``, from which it converts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from harness.interpreter.points import bilinear, clamped
from harness.interpreter.registry import impl

if TYPE_CHECKING:
    from torch import Tensor


@impl("resample")
def resample(
    x: Tensor,
    coordinates: Tensor,
    sampling_mode: str,
    padding_mode: str,
    padding_value: float,
    coordinates_mode: str,
    *,
    align_corners: bool,
) -> Tensor:
    """Take ``[B, C, H, W]`` at the coordinates ``[B, h, w, 2]``, which are (across, down).

    A point outside is moved in (``border``), mirrored at the outermost pixel (``reflection``) or at its outer edge
    (``symmetric``), or reads ``padding_value`` (``constant``).
    """
    widths, heights = coordinates.double().unbind(-1)
    points = [
        _padded(_pixels(at, size, coordinates_mode, align_corners=align_corners), size, padding_mode)
        for at, size in ((heights, x.shape[-2]), (widths, x.shape[-1]))
    ]
    if sampling_mode == "nearest":
        points = [point.round() for point in points]
    elif sampling_mode != "bilinear":
        raise ValueError(f"expected the sampling mode bilinear or nearest, got {sampling_mode!r}")
    return bilinear(x, points[0], points[1], padding_value)


@impl("affine")
def affine(
    x: Tensor,
    transform_matrix: Tensor,
    output_height: int,
    output_width: int,
    sampling_mode: str,
    padding_mode: str,
    padding_value: float,
    coordinates_mode: str,
    *,
    align_corners: bool,
) -> Tensor:
    """Take each output pixel ``(w, h)`` at ``(a0 w + a1 h + a2, b0 w + b1 h + b2)``; a matrix holds a0 to b2."""
    across, down = (
        _normalised(size, align_corners=align_corners).to(torch.float64) for size in (output_width, output_height)
    )
    places = torch.stack(
        [
            across.expand(output_height, -1),
            down[:, None].expand(-1, output_width),
            torch.ones(output_height, output_width, dtype=torch.float64),
        ]
    )
    grid = torch.einsum("bij,jhw->bhwi", transform_matrix.double().reshape(-1, 2, 3), places)
    grid = grid.expand(len(x), -1, -1, -1)
    return resample(x, grid, sampling_mode, padding_mode, padding_value, coordinates_mode, align_corners=align_corners)


def _normalised(size: int, *, align_corners: bool) -> Tensor:
    """Return the places of pixels between -1 and 1, the centres or the edges of the outermost at the ends."""
    if size == 1:
        return torch.zeros(1)
    ends = torch.linspace(-1, 1, size, dtype=torch.float64)
    return ends if align_corners else ends * (size - 1) / size


def _pixels(at: Tensor, size: int, mode: str, *, align_corners: bool) -> Tensor:
    """Return coordinates in pixels, 0 the centre of the first."""
    if mode == "unnormalized":
        return at
    shares = {"normalized_minus_one_to_one": (at + 1) / 2, "normalized_zero_to_one": at}
    if mode not in shares:
        raise ValueError(f"expected coordinates of {', '.join(('unnormalized', *shares))}, got {mode!r}")
    return shares[mode] * (size - 1) if align_corners else shares[mode] * size - 0.5


def _padded(at: Tensor, size: int, mode: str) -> Tensor:
    """Move points outside of ``[0, size - 1]`` as a padding mode says."""
    match mode:
        case "constant":
            return at
        case "border":
            return clamped(at, size)
        case "reflection":
            return _mirrored(at, 0.0, size - 1.0)
        case "symmetric":
            return clamped(_mirrored(at, -0.5, size - 0.5), size)
    raise ValueError(f"expected the padding mode constant, border, reflection or symmetric, got {mode!r}")


def _mirrored(at: Tensor, low: float, high: float) -> Tensor:
    """Mirror points at both ends until they are between them."""
    length = high - low
    if not length:
        return torch.full_like(at, low)
    return low + length - ((at - low).remainder(2 * length) - length).abs()
