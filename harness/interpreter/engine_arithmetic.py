"""The Neural Engine's arithmetic on tensors; the rules and their sources are in ``engine_numerics``."""

from __future__ import annotations

import math
from functools import cache, reduce
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.interpreter.engine_numerics import Numerics

    Multiply = Callable[[torch.Tensor, torch.Tensor, torch.Tensor | None], torch.Tensor]

LARGEST_SUBNORMAL = 2.0**-14 - 2.0**-24
HALF_STEP, STEP_MASK = 1 << 12, -(1 << 13)
"""Half a unit of float16's last place in the bits of a float32, and the bits that float16 keeps."""

KNOTS = 33

FLOAT16_END = 65520.0
"""Magnitude from which a number rounds to an infinite float16."""


def product(
    numerics: Numerics, multiply: Multiply, x: torch.Tensor, y: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """Return the accumulator's output of a product, before rounding.

    A result that rounds to the ceiling is at the ceiling: half a unit of float16's last place below it.

    Parameters
    ----------
    numerics: the arithmetic.
    multiply: the product, bilinear in its first two arguments; the third, if any, is added.
    x, y, bias: its arguments.
    """
    value = multiply(x, y, bias)
    if value.numel() == 0:
        return value
    edge = numerics.product_ceiling * (1 - 2.0**-12)
    low, high = torch.aminmax(value)
    if not (-edge < float(low) and float(high) < edge):
        if math.isnan(float(low)):
            value = _settled(value, multiply, x, y, bias)
        value = torch.where(value.abs() >= edge, torch.full_like(value, torch.inf).copysign(value), value)
    return functional.hardshrink(value, LARGEST_SUBNORMAL) if numerics.flush_products else value


def _settled(
    value: torch.Tensor, multiply: Multiply, x: torch.Tensor, y: torch.Tensor, bias: torch.Tensor | None
) -> torch.Tensor:
    """Return the results of a product with 0 * inf and inf - inf counted as 0 within its sums."""
    y = y.to(x.dtype)
    positive = negative = torch.zeros((), dtype=x.dtype)
    for left, right in ((_infinities(x), y.sign()), (_finite(x).sign(), _infinities(y))):
        if left.any() and right.any():
            total, count = multiply(left, right, None), multiply(left.abs(), right.abs(), None)
            positive, negative = positive + (count + total), negative + (count - total)
    single = (positive > 0) ^ (negative > 0)
    finite = without_nan(multiply(_finite(x), _finite(y), bias))
    settled = torch.where(single, torch.full_like(finite, torch.inf).copysign(positive - negative), finite)
    return torch.where(value.isnan(), settled, value)


def _infinities(value: torch.Tensor) -> torch.Tensor:
    """Return the signs of infinite elements, and 0 for the others."""
    return torch.where(value.isinf(), value.sign(), 0.0)


def _finite(value: torch.Tensor) -> torch.Tensor:
    """Return a value with 0 for its infinite elements."""
    return torch.where(value.isinf(), 0.0, value)


def operand(numerics: Numerics, value: torch.Tensor) -> torch.Tensor:
    """Return an operand of a product as the multiplier reads it."""
    if numerics.pessimistic and numerics.flush_products:
        return functional.hardshrink(value, LARGEST_SUBNORMAL)
    return value


def under_root(numerics: Numerics, value: torch.Tensor) -> torch.Tensor:
    """Return a value as a square root reads it."""
    return functional.hardshrink(value, numerics.root_floor * (1 - 2.0**-10))


def norm_epsilon(numerics: Numerics, epsilon: float) -> float:
    """Return the epsilon of a normalisation as the engine adds it."""
    return 0.0 if numerics.pessimistic and epsilon < numerics.root_floor else epsilon


def sliced(numerics: Numerics, value: torch.Tensor) -> torch.Tensor:
    """Return float16 values as a slice of the last axis that begins past 0 passes them on."""
    limit = numerics.slice_limit
    if limit is None or value.dtype != torch.float16 or value.numel() == 0:
        return value
    low, high = torch.aminmax(value)
    if -limit <= float(low) and float(high) <= limit:
        return value
    return torch.where(value.abs() > limit, torch.full_like(value, torch.inf).copysign(value), value)


def sigmoid(numerics: Numerics, x: torch.Tensor) -> torch.Tensor:
    """Return sigmoid by its table; beyond the table's ends it is 0 and 1."""
    first, last = numerics.sigmoid_domain
    values = _sigmoid_knots(first, last)
    place = (x - first) * ((KNOTS - 1) / (last - first))
    segment = place.clamp(0, KNOTS - 2).to(torch.int64)
    start, step = values[:-1].to(x.dtype), (values[1:] - values[:-1]).to(x.dtype)
    inside = start[segment] + (place - segment) * step[segment]
    return torch.where(x < first, 0.0, torch.where(x > last, 1.0, inside))


def without_nan(value: torch.Tensor) -> torch.Tensor:
    """Return a value with NaNs replaced by +0; a sum shows if there are any, which is cheaper than testing each."""
    total = float(value.sum()) if value.is_floating_point() else 0.0
    return value.nan_to_num(0.0, torch.inf, -torch.inf) if total != total else value  # noqa: PLR0124 - NaN


def log(numerics: Numerics, x: torch.Tensor) -> torch.Tensor:
    """Return the logarithm by its table, which holds a finite number for 0."""
    return torch.where(x == 0, numerics.log_of_zero, x.log())


def softmax(x: torch.Tensor, axis: int) -> torch.Tensor:
    """Return softmax with inf - inf = 0: a row's infinities share its mass."""
    result = torch.softmax(x, axis)
    total = float(result.sum())
    if total == total:  # noqa: PLR0124 - NaN
        return result
    return torch.softmax((x - x.amax(axis, keepdim=True)).nan_to_num(0.0, torch.inf, -torch.inf), axis)


def narrow_total(numerics: Numerics, value: torch.Tensor, dims: tuple[int, ...]) -> torch.Tensor:
    """Sum over ``dims``, which stay with length 1, every partial sum rounded to float16, ties away from 0.

    Terms are added in pairs; one after the other, if the numerics are pessimistic. The float32 sum of two float16
    numbers is rounded by adding half a step to its bits and cutting the rest off.
    """
    kept = [d for d in range(value.dim()) if d not in dims]
    shape = [1 if d in dims else value.shape[d] for d in range(value.dim())]
    terms = value.float().permute(*dims, *kept).reshape(-1, *(value.shape[d] for d in kept))
    if terms.shape[0] == 0:
        return torch.zeros(shape)
    largest = float(terms.abs().max()) * terms.shape[0]
    add = _added if largest < FLOAT16_END else _added_within_range
    if numerics.pessimistic:
        return reduce(add, terms.unbind(0)).reshape(shape)
    while (count := terms.shape[0]) > 1:
        half = count // 2
        sums = add(terms[:half], terms[half : 2 * half])
        terms = torch.cat([sums, terms[2 * half :]]) if count % 2 else sums
    return terms.reshape(shape)


def _added(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    total = x + y
    total.view(torch.int32).add_(HALF_STEP).bitwise_and_(STEP_MASK)
    return total


def _added_within_range(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    total = without_nan(x + y)
    total = torch.where(total.abs() >= FLOAT16_END, torch.full_like(total, torch.inf).copysign(total), total)
    total.view(torch.int32).add_(HALF_STEP).bitwise_and_(STEP_MASK)
    return total


@cache
def _sigmoid_knots(first: float, last: float) -> torch.Tensor:
    """Return the knots' values, by least squares over the domain, float64, shape (33,)."""
    x = torch.linspace(first, last, 64 * (KNOTS - 1) + 1, dtype=torch.float64)
    place = (x - first) * ((KNOTS - 1) / (last - first))
    hats = (1 - (place[:, None] - torch.arange(KNOTS)).abs()).clamp(min=0)
    solution: torch.Tensor = torch.linalg.lstsq(hats, x.sigmoid()[:, None]).solution
    return solution[:, 0]
