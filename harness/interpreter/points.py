"""Values of images at points between their pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


def clamped(at: Tensor, size: int) -> Tensor:
    """Move points to ``[0, size - 1]``."""
    return at.clamp(0, size - 1)


def within(at: Tensor, size: int) -> Tensor:
    """Return which points are in ``[0, size - 1]``."""
    return (at >= 0) & (at <= size - 1)


def bilinear(x: Tensor, heights: Tensor, widths: Tensor, outside: float) -> Tensor:
    """Return ``[B, C, h, w]`` at points ``[B, h, w]``; pixels outside of the image have the value ``outside``.

    A point takes its four neighbours in proportion to their distances; one without weight is not read, so that an
    infinite one does not spoil its neighbours.
    """
    top, left = heights.floor(), widths.floor()
    images = torch.arange(len(x))[:, None, None]
    total = torch.zeros(len(x), x.shape[1], *heights.shape[1:], dtype=x.dtype)
    for h, w in ((0, 0), (0, 1), (1, 0), (1, 1)):
        row, column = top + h, left + w
        share = (1 - (heights - row).abs()) * (1 - (widths - column).abs())
        inside = within(row, x.shape[-2]) & within(column, x.shape[-1])
        at = (clamped(row, x.shape[-2]).long(), clamped(column, x.shape[-1]).long())
        pixel = torch.where(inside[:, None], x[images, :, at[0], at[1]].movedim(-1, 1), outside)
        total += torch.where(share[:, None] > 0, share[:, None].to(x.dtype) * pixel, 0.0)
    return total
