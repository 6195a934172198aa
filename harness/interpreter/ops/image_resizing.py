"""Resizing of the last dimensions: a grid of sampling points on each, and the values there, linear or nearest.

With ``n`` input and ``m`` output elements, point ``i`` of a sampling mode is (coremltools, ``resize_bilinear``):

- ``STRICT_ALIGN_CORNERS``: ``i (n - 1) / (m - 1)``; ``ALIGN_CORNERS``: the same, the middle where ``m`` is 1
- ``DEFAULT``: ``i n / m``; ``UNALIGN_CORNERS``: ``(i + 1/2) n / m - 1/2``
- ``OFFSET_CORNERS``: ``(i + 1/2) max(1, n - 1) / m``

each clamped to ``[0, n - 1]``. Core ML does not say which element is nearest at a tie: here a point is rounded down in
the mode ``DEFAULT``, as PyTorch's ``nearest`` does, and to the nearest, ties up, in the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from harness.interpreter.registry import impl

if TYPE_CHECKING:
    from torch import Tensor

    from harness.interpreter.registry import Ints

SAMPLING = {
    "STRICT_ALIGN_CORNERS": lambda i, n, m: i * ((n - 1) / max(m - 1, 1)),
    "ALIGN_CORNERS": lambda i, n, m: i * ((n - 1) / (m - 1)) if m > 1 else i + (n - 1) / 2,
    "DEFAULT": lambda i, n, m: i * (n / m),
    "UNALIGN_CORNERS": lambda i, n, m: (i + 0.5) * (n / m) - 0.5,
    "OFFSET_CORNERS": lambda i, n, m: (i + 0.5) * (max(1, n - 1) / m),
}
"""From the output's indices, float64, and both sizes to points of the input."""


@impl("resize", since=17)
def resize(
    x: Tensor, shape: Ints, resized_dims: int, *, interpolation_mode: str = "LINEAR", sampling_mode: str = "DEFAULT"
) -> Tensor:
    """Give the last ``resized_dims`` dimensions the sizes at the end of ``shape``; 0 keeps one."""
    for back in range(1, resized_dims + 1):
        size = shape[-back] or x.shape[-back]
        x = _resized(x, -back, size, sampling_mode, linear=interpolation_mode == "LINEAR")
    return x


@impl("resize_bilinear")
def resize_bilinear(
    x: Tensor, target_size_height: int = 1, target_size_width: int = 1, *, sampling_mode: str = "DEFAULT"
) -> Tensor:
    """Resize the last two dimensions linearly."""
    x = _resized(x, -2, target_size_height, sampling_mode, linear=True)
    return _resized(x, -1, target_size_width, sampling_mode, linear=True)


@impl("resize_nearest_neighbor")
def resize_nearest_neighbor(x: Tensor, target_size_height: int, target_size_width: int) -> Tensor:
    """Resize the last two dimensions to their nearest elements."""
    x = _resized(x, -2, target_size_height, "DEFAULT", linear=False)
    return _resized(x, -1, target_size_width, "DEFAULT", linear=False)


@impl("upsample_bilinear")
def upsample_bilinear(
    x: Tensor,
    scale_factor_height: float = 1.0,
    scale_factor_width: float = 1.0,
    *,
    align_corners: bool = True,
    half_pixel_centers: bool | None = None,
) -> Tensor:
    """Scale the last two dimensions linearly; from iOS 16 half pixel centres are by default those not aligned."""
    half = not align_corners if half_pixel_centers is None else half_pixel_centers
    mode = "STRICT_ALIGN_CORNERS" if align_corners else "UNALIGN_CORNERS" if half else "DEFAULT"
    x = _resized(x, -2, int(x.shape[-2] * scale_factor_height), mode, linear=True)
    return _resized(x, -1, int(x.shape[-1] * scale_factor_width), mode, linear=True)


@impl("upsample_nearest_neighbor")
def upsample_nearest_neighbor(x: Tensor, scale_factor_height: float = 1.0, scale_factor_width: float = 1.0) -> Tensor:
    """Scale the last two dimensions, each element repeated."""
    x = _resized(x, -2, int(x.shape[-2] * scale_factor_height), "DEFAULT", linear=False)
    return _resized(x, -1, int(x.shape[-1] * scale_factor_width), "DEFAULT", linear=False)


def _resized(x: Tensor, dim: int, size: int, mode: str, *, linear: bool) -> Tensor:
    """Resize one dimension."""
    if mode not in SAMPLING:
        raise ValueError(f"expected a sampling mode of {', '.join(SAMPLING)}, got {mode!r}")
    n = x.shape[dim]
    points = SAMPLING[mode](torch.arange(size, dtype=torch.float64), n, size).clamp(0, n - 1)
    if not linear:
        indices = points if mode == "DEFAULT" else points + 0.5
        return x.index_select(dim, indices.floor().long().clamp(max=n - 1))
    low = points.floor().long()
    high = (low + 1).clamp(max=n - 1)
    exact = x if x.is_floating_point() else x.double()
    share = (points - low).to(exact.dtype).reshape(-1, *[1] * (-dim - 1))
    between = exact.index_select(dim, low) * (1 - share) + exact.index_select(dim, high) * share
    result: Tensor = between.to(x.dtype)
    return result
