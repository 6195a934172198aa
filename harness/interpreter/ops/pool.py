"""Pooling with one to three spatial dimensions.

Output size: ``floor((n + pad - k) / s) + 1``; with ``ceil_mode`` the ceiling, less one where the last window
would start in the padding after (PyTorch's rule). Windows may then reach past the padded input: what lies
there counts for nothing, neither as a maximum nor in an average's denominator.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import torch

from harness.interpreter import accumulate
from harness.interpreter.ops.conv import padded, padding
from harness.interpreter.registry import impl

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from harness.interpreter.context import Context
    from harness.interpreter.registry import Ints


def _layout(
    x: Tensor,
    kernel: Ints,
    strides: Ints | None,
    pad_type: str,
    pad: Ints | None,
    ceil_mode: bool,
) -> tuple[Ints, Ints, Ints]:
    """Return the strides, the padding and the output size."""
    sizes = tuple(x.shape[2:])
    steps = strides or (1,) * len(sizes)
    pads = padding(pad_type, pad, sizes, kernel, steps)
    outputs = []
    for i, (n, k, s) in enumerate(zip(sizes, kernel, steps, strict=True)):
        before, after = pads[2 * i], pads[2 * i + 1]
        reach = n + before + after - k
        count = (math.ceil(reach / s) if ceil_mode else reach // s) + 1
        if ceil_mode and before + after > 0 and (count - 1) * s >= n + before:
            count -= 1
        outputs.append(count)
    return steps, pads, tuple(outputs)


def _taps(x: Tensor, kernel: Ints, steps: Ints, outputs: Ints) -> Iterator[Tensor]:
    """Yield, for every kernel position, what each window holds there."""
    for position in itertools.product(*map(range, kernel)):
        index = tuple(
            slice(p, p + (count - 1) * s + 1, s) for p, count, s in zip(position, outputs, steps, strict=True)
        )
        yield x[(slice(None), slice(None), *index)]


def _extended(x: Tensor, pads: Ints, kernel: Ints, steps: Ints, outputs: Ints, value: float) -> Tensor:
    """Pad ``x``, and on after that as far as the last window reaches."""
    reach = list(pads)
    for i, (n, k, s, count) in enumerate(zip(x.shape[2:], kernel, steps, outputs, strict=True)):
        reach[2 * i + 1] = max(0, (count - 1) * s + k - n - pads[2 * i])
    return padded(x, tuple(reach), value)


def _pooled_sum(ctx: Context, x: Tensor, kernel: Ints, steps: Ints, outputs: Ints) -> Tensor:
    taps = _taps(x, kernel, steps, outputs)
    if ctx.order:
        return accumulate.ORDERS[ctx.order](taps)
    total = next(taps).clone()
    for tap in taps:
        total += tap
    return total


@impl("max_pool")
def max_pool(
    x: Tensor,
    kernel_sizes: Ints,
    pad_type: str,
    strides: Ints | None = None,
    pad: Ints | None = None,
    *,
    ceil_mode: bool = False,
) -> Tensor:
    """Return the largest element of each window; padding never wins."""
    steps, pads, outputs = _layout(x, kernel_sizes, strides, pad_type, pad, ceil_mode)
    image = _extended(x, pads, kernel_sizes, steps, outputs, -math.inf)
    taps = _taps(image, kernel_sizes, steps, outputs)
    result = next(taps)
    for tap in taps:
        result = torch.maximum(result, tap)
    return result


@impl("avg_pool")
def avg_pool(
    ctx: Context,
    x: Tensor,
    kernel_sizes: Ints,
    pad_type: str,
    strides: Ints | None = None,
    pad: Ints | None = None,
    *,
    ceil_mode: bool = False,
    exclude_padding_from_average: bool = False,
) -> Tensor:
    """Return the mean of each window; padding counts as zeros unless excluded from the denominator."""
    steps, pads, outputs = _layout(x, kernel_sizes, strides, pad_type, pad, ceil_mode)
    image = _extended(x, pads, kernel_sizes, steps, outputs, 0.0)
    total = _pooled_sum(ctx, image, kernel_sizes, steps, outputs)
    counted = torch.ones(1, 1, *x.shape[2:], dtype=x.dtype)
    counted = counted if exclude_padding_from_average else padded(counted, pads, 1.0)
    beyond = (0,) * len(pads) if not exclude_padding_from_average else pads
    ones = _extended(counted, beyond, kernel_sizes, steps, outputs, 0.0)
    count = sum(_taps(ones, kernel_sizes, steps, outputs), torch.zeros((), dtype=x.dtype))
    return total / count


@impl("l2_pool")
def l2_pool(
    ctx: Context,
    x: Tensor,
    kernel_sizes: Ints,
    pad_type: str,
    strides: Ints | None = None,
    pad: Ints | None = None,
    *,
    ceil_mode: bool = False,
) -> Tensor:
    """Return the Euclidean norm of each window."""
    steps, pads, outputs = _layout(x, kernel_sizes, strides, pad_type, pad, ceil_mode)
    image = _extended(x * x, pads, kernel_sizes, steps, outputs, 0.0)
    return _pooled_sum(ctx, image, kernel_sizes, steps, outputs).sqrt()
