"""The Neural Engine's arithmetic on tensors; the rules and their sources are in ``engine_numerics``."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from harness.interpreter.engine_numerics import Numerics

LARGEST_SUBNORMAL = 2.0**-14 - 2.0**-24
HALF_STEP, STEP_MASK = 1 << 12, -(1 << 13)
"""Half a unit of float16's last place in the bits of a float32, and the bits that float16 keeps."""

KNOTS = 33


def product(numerics: Numerics, value: torch.Tensor) -> torch.Tensor:
    """Return the accumulator's output for the exact results of a product, before rounding.

    A result that rounds to the ceiling is at the ceiling: half a unit of float16's last place below it.
    """
    if value.numel() == 0:
        return value
    edge = numerics.product_ceiling * (1 - 2.0**-12)
    low, high = torch.aminmax(value)
    if not (-edge < float(low) and float(high) < edge):
        value = without_nan(value)
        value = torch.where(value.abs() >= edge, torch.full_like(value, torch.inf).copysign(value), value)
    return functional.hardshrink(value, LARGEST_SUBNORMAL) if numerics.flush_products else value


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


def narrow_total(value: torch.Tensor, dims: tuple[int, ...]) -> torch.Tensor:
    """Sum over ``dims``, which stay with length 1: pairwise, every partial sum rounded to float16, ties away from 0.

    The float32 sum of two float16 numbers is rounded by adding half a step to its bits and cutting the rest off.
    """
    kept = [d for d in range(value.dim()) if d not in dims]
    shape = [1 if d in dims else value.shape[d] for d in range(value.dim())]
    terms = value.float().permute(*dims, *kept).reshape(-1, *(value.shape[d] for d in kept))
    if terms.shape[0] == 0:
        return torch.zeros(shape)
    while (count := terms.shape[0]) > 1:
        half = count // 2
        sums = terms[:half] + terms[half : 2 * half]
        sums.view(torch.int32).add_(HALF_STEP).bitwise_and_(STEP_MASK)
        terms = torch.cat([sums, terms[2 * half :]]) if count % 2 else sums
    return terms.reshape(shape)


@cache
def _sigmoid_knots(first: float, last: float) -> torch.Tensor:
    """Return the knots' values, by least squares over the domain, float64, shape (33,)."""
    x = torch.linspace(first, last, 64 * (KNOTS - 1) + 1, dtype=torch.float64)
    place = (x - first) * ((KNOTS - 1) / (last - first))
    hats = (1 - (place[:, None] - torch.arange(KNOTS)).abs()).clamp(min=0)
    solution: torch.Tensor = torch.linalg.lstsq(hats, x.sigmoid()[:, None]).solution
    return solution[:, 0]
