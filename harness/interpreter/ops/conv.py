"""Convolutions and transposed convolutions with one to three spatial dimensions.

Padding of ``same``: per dimension ``max(0, s * ceil(n / s) - n + k - s)`` in all, the odd element after
(``same_lower``: before). Under a float16 accumulator a convolution is the sum, over input channels and kernel
positions, of one product each.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from harness.interpreter import accumulate
from harness.interpreter.registry import impl

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from harness.interpreter.context import Context
    from harness.interpreter.registry import Ints

CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
TRANSPOSED = {1: functional.conv_transpose1d, 2: functional.conv_transpose2d, 3: functional.conv_transpose3d}


def padding(pad_type: str, pad: Ints | None, sizes: Ints, kernel: Ints, strides: Ints) -> Ints:
    """Return ``(before, after)`` of each spatial dimension in turn; ``kernel`` counts its dilation.

    Raises
    ------
    ValueError: for an unknown ``pad_type``.
    """
    if pad_type == "custom":
        return pad or (0,) * 2 * len(sizes)
    if pad_type == "valid":
        return (0,) * 2 * len(sizes)
    if pad_type not in ("same", "same_lower"):
        raise ValueError(f"unknown pad_type {pad_type!r}; MIL has valid, same, same_lower and custom")
    both: list[int] = []
    for n, k, s in zip(sizes, kernel, strides, strict=True):
        total = max(0, s * math.ceil(n / s) - n + k - s)
        less, more = total // 2, total - total // 2
        both += (more, less) if pad_type == "same_lower" else (less, more)
    return tuple(both)


def padded(x: Tensor, pads: Ints, value: float = 0.0) -> Tensor:
    """Pad the last dimensions of ``x`` by ``(before, after)`` each, first dimension first."""
    if not any(pads):
        return x
    pairs = [pads[i : i + 2] for i in range(0, len(pads), 2)]
    return functional.pad(x, tuple(itertools.chain(*reversed(pairs))), value=value)


@impl("conv")
def conv(
    ctx: Context,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    strides: Ints | None = None,
    pad_type: str = "valid",
    pad: Ints | None = None,
    dilations: Ints | None = None,
    groups: int = 1,
) -> Tensor:
    """Cross-correlate ``[n, C_in, *D]`` with ``[C_out, C_in / groups, *K]``."""
    spatial = x.dim() - 2
    steps, spread = strides or (1,) * spatial, dilations or (1,) * spatial
    kernel = tuple((k - 1) * d + 1 for k, d in zip(weight.shape[2:], spread, strict=True))
    image = padded(x, padding(pad_type, pad, tuple(x.shape[2:]), kernel, steps))
    if ctx.order is None:

        def convolve(image: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
            return CONVOLUTIONS[spatial](image, weight, bias, steps, 0, spread, groups)

        return ctx.product(convolve, ctx.operand(image), weight, bias)
    products = _products(image, weight, steps, spread, groups)
    result = accumulate.ORDERS[ctx.order](products).flatten(1, 2)
    return result if bias is None else result + bias.reshape(1, -1, *[1] * spatial)


@impl("conv_quantized")
def conv_quantized(
    ctx: Context,
    x: Tensor,
    weight: Tensor,
    quantization_type: str,
    quant_scale: Tensor,
    quant_bias: Tensor,
    bias: Tensor | None = None,
    nbits: int = 8,
    strides: Ints | None = None,
    pad_type: str = "valid",
    pad: Ints | None = None,
    dilations: Ints | None = None,
    groups: int = 1,
) -> Tensor:
    """Convolve with ``codes * quant_scale + quant_bias``, each one number or one an output channel.

    Raises
    ------
    ValueError: for a lookup table, whose place coremltools does not document, and for codes above ``nbits``.
    """
    if quantization_type != "linear":
        raise ValueError(f"expected the quantization type linear, got {quantization_type!r}")
    if int(weight.max()) >= 2**nbits:
        raise ValueError(f"expected codes of {nbits} bits, got {int(weight.max())}")
    along = (-1, *[1] * (weight.dim() - 1))
    exact = weight.to(x.dtype) * quant_scale.reshape(along) + quant_bias.reshape(along)
    offset = None if bias is None else bias.to(x.dtype)
    return conv(ctx, x, exact, offset, strides, pad_type, pad, dilations, groups)


def _products(image: Tensor, weight: Tensor, strides: Ints, dilations: Ints, groups: int) -> Iterator[Tensor]:
    """Yield ``[n, groups, C_out / groups, *D_out]`` for every input channel and kernel position."""
    kernel = weight.shape[2:]
    split = torch.unflatten(image, 1, (groups, -1))
    taps = torch.unflatten(weight, 0, (groups, -1))
    sizes = [
        (n - (k - 1) * d - 1) // s + 1 for n, k, s, d in zip(image.shape[2:], kernel, strides, dilations, strict=True)
    ]
    for channel in range(weight.shape[1]):
        for position in itertools.product(*map(range, kernel)):
            window = split[:, :, channel, None]
            for axis, (p, size, s, d) in enumerate(zip(position, sizes, strides, dilations, strict=True)):
                index = torch.arange(size) * s + p * d
                window = window.index_select(axis + 3, index)
            tap = taps[:, :, channel]
            for p in position:
                tap = tap.select(2, p)
            yield window * tap.reshape(1, *tap.shape, *[1] * len(kernel))


@impl("conv_transpose")
def conv_transpose(
    ctx: Context,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    pad: Ints | None = None,
    output_shape: Ints | None = None,
    pad_type: str = "valid",
    strides: Ints | None = None,
    dilations: Ints | None = None,
    groups: int = 1,
) -> Tensor:
    """Scatter ``[n, C_in, *D]`` through ``[C_in, C_out / groups, *K]``: the gradient of ``conv``.

    The full result is cropped: by ``pad`` when custom, to ``D * stride`` when same, and an ``output_shape``
    settles what a stride leaves open.
    """
    spatial = x.dim() - 2
    steps, spread = strides or (1,) * spatial, dilations or (1,) * spatial
    if ctx.order is None:

        def scatter(image: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
            return TRANSPOSED[spatial](image, weight, bias, steps, 0, 0, groups, spread)

        full = ctx.product(scatter, ctx.operand(x), weight, bias)
    else:
        full = _transposed_narrow(ctx, x, weight, bias, steps, spread, groups)
    extent = tuple(full.shape[2:])
    if output_shape is not None:
        wanted = output_shape[-spatial:]
    elif pad_type == "same":
        wanted = tuple(n * s for n, s in zip(x.shape[2:], steps, strict=True))
    else:
        wanted = ()
    if pad_type == "custom" and pad is not None:
        first = pad[::2]
        wanted = wanted or tuple(n - a - b for n, a, b in zip(extent, pad[::2], pad[1::2], strict=True))
    else:
        wanted = wanted or extent
        first = tuple(max(0, n - w) // 2 for n, w in zip(extent, wanted, strict=True))
    return _window(full, first, wanted, bias)


def _window(full: Tensor, first: Ints, wanted: Ints, bias: Tensor | None) -> Tensor:
    """Cut a window out of the full result; where it reaches past it, only the bias is there."""
    pads = [(0, max(0, a + w - n)) for n, a, w in zip(full.shape[2:], first, wanted, strict=True)]
    spatial = len(wanted)
    if any(after for _, after in pads):
        offset = torch.zeros(full.shape[1]) if bias is None else bias
        shape = (*full.shape[:2], *(n + after for n, (_, after) in zip(full.shape[2:], pads, strict=True)))
        larger = offset.to(full.dtype).reshape(1, -1, *[1] * spatial).expand(shape).clone()
        larger[(slice(None), slice(None), *(slice(0, n) for n in full.shape[2:]))] = full
        full = larger
    return full[(slice(None), slice(None), *(slice(a, a + w) for a, w in zip(first, wanted, strict=True)))]


def _transposed_narrow(
    ctx: Context, x: Tensor, weight: Tensor, bias: Tensor | None, strides: Ints, dilations: Ints, groups: int
) -> Tensor:
    """Run the transposed convolution as a convolution of the stretched input with the mirrored kernel."""
    spatial = x.dim() - 2
    stretched = x.new_zeros(*x.shape[:2], *((n - 1) * s + 1 for n, s in zip(x.shape[2:], strides, strict=True)))
    stretched[(slice(None), slice(None), *(slice(None, None, s) for s in strides))] = x
    pads = [(k - 1) * d for k, d in zip(weight.shape[2:], dilations, strict=True) for _ in range(2)]
    mirrored = torch.unflatten(weight.flip(tuple(range(2, weight.dim()))), 0, (groups, -1))
    kernel = mirrored.transpose(1, 2).flatten(0, 1)
    return conv(ctx, stretched, kernel, bias, (1,) * spatial, "custom", tuple(pads), dilations, groups)
