"""Element-wise ops of two tensors, broadcast as numpy does. Integer results are exact and wrap around.

Integer division and remainder by zero are 0, as numpy has it; MIL does not say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from harness.interpreter.registry import impl

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from harness.interpreter.context import Context


@impl("add")
def add(x: Tensor, y: Tensor) -> Tensor:
    """``x + y``."""
    return x + y


@impl("sub")
def sub(x: Tensor, y: Tensor) -> Tensor:
    """``x - y``."""
    return x - y


@impl("mul")
def mul(x: Tensor, y: Tensor) -> Tensor:
    """``x * y``."""
    return x * y


@impl("real_div")
def real_div(ctx: Context, x: Tensor, y: Tensor) -> Tensor:
    """``x / y``; for integers the quotient, in float64, cut towards zero."""
    if x.is_floating_point() or y.is_floating_point():
        return x / ctx.divisor(y)
    return _nonzero_divisor(x, y, lambda a, b: torch.div(a.double(), b.double(), rounding_mode="trunc"))


@impl("floor_div")
def floor_div(x: Tensor, y: Tensor) -> Tensor:
    """``floor(x / y)``."""
    if x.is_floating_point() or y.is_floating_point():
        return torch.div(x, y, rounding_mode="floor")
    return _nonzero_divisor(x, y, lambda a, b: torch.div(a, b, rounding_mode="floor"))


@impl("mod")
def mod(x: Tensor, y: Tensor) -> Tensor:
    """``x - floor(x / y) * y``: the sign is the divisor's."""
    if x.is_floating_point() or y.is_floating_point():
        return torch.remainder(x, y)
    return _nonzero_divisor(x, y, torch.remainder)


@impl("pow")
def pow_(ctx: Context, x: Tensor, y: Tensor) -> Tensor:
    """``x ** y``; a negative power of an integer through float64, cut towards zero."""
    if x.is_floating_point() or y.is_floating_point() or not bool((y < 0).any()):
        return torch.pow(ctx.base(x, y), y)
    return torch.pow(x.double(), y.double())


@impl("maximum")
def maximum(x: Tensor, y: Tensor) -> Tensor:
    """Return the larger; NaN if either is."""
    return torch.maximum(x, y)


@impl("minimum")
def minimum(x: Tensor, y: Tensor) -> Tensor:
    """Return the smaller; NaN if either is."""
    return torch.minimum(x, y)


@impl("equal", moves=True)
def equal(x: Tensor, y: Tensor) -> Tensor:
    """``x == y``."""
    return x == y


@impl("not_equal", moves=True)
def not_equal(x: Tensor, y: Tensor) -> Tensor:
    """``x != y``."""
    return x != y


@impl("greater", moves=True)
def greater(x: Tensor, y: Tensor) -> Tensor:
    """``x > y``."""
    return x > y


@impl("greater_equal", moves=True)
def greater_equal(x: Tensor, y: Tensor) -> Tensor:
    """``x >= y``."""
    return x >= y


@impl("less", moves=True)
def less(x: Tensor, y: Tensor) -> Tensor:
    """``x < y``."""
    return x < y


@impl("less_equal", moves=True)
def less_equal(x: Tensor, y: Tensor) -> Tensor:
    """``x <= y``."""
    return x <= y


@impl("logical_and", moves=True)
def logical_and(x: Tensor, y: Tensor) -> Tensor:
    """``x and y``."""
    return torch.logical_and(x, y)


@impl("logical_or", moves=True)
def logical_or(x: Tensor, y: Tensor) -> Tensor:
    """``x or y``."""
    return torch.logical_or(x, y)


@impl("logical_xor", moves=True)
def logical_xor(x: Tensor, y: Tensor) -> Tensor:
    """``x != y`` of booleans."""
    return torch.logical_xor(x, y)


def _nonzero_divisor(x: Tensor, y: Tensor, divide: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Divide integers, giving 0 where the divisor is 0."""
    zero = y == 0
    return divide(x, torch.where(zero, torch.ones_like(y), y)).masked_fill(zero, 0)
