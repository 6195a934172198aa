"""Element-wise ops of one tensor. Formulas are MIL's; each docstring is the formula."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from harness.interpreter.dtypes import dtype_named
from harness.interpreter.registry import impl

if TYPE_CHECKING:
    from torch import Tensor

    from harness.interpreter.context import Context


@impl("abs")
def abs_(x: Tensor) -> Tensor:
    """``|x|``."""
    return x.abs()


@impl("acos")
def acos(x: Tensor) -> Tensor:
    """``arccos(x)``."""
    return x.acos()


@impl("asin")
def asin(x: Tensor) -> Tensor:
    """``arcsin(x)``."""
    return x.asin()


@impl("atan")
def atan(x: Tensor) -> Tensor:
    """``arctan(x)``."""
    return x.atan()


@impl("atanh")
def atanh(x: Tensor) -> Tensor:
    """``artanh(x)``."""
    return x.atanh()


@impl("cast", moves=True)
def cast(ctx: Context, x: Tensor, dtype: str) -> Tensor:
    """``x`` in another type: floats truncate towards zero on the way to integers, non-zero is true."""
    return ctx.policy.entered(x, dtype_named(dtype))


@impl("ceil")
def ceil(x: Tensor) -> Tensor:
    """``ceil(x)``."""
    return x.ceil()


@impl("clip")
def clip(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    """``min(max(x, alpha), beta)``."""
    return torch.minimum(torch.maximum(x, alpha), beta)


@impl("cos")
def cos(x: Tensor) -> Tensor:
    """``cos(x)``."""
    return x.cos()


@impl("cosh")
def cosh(x: Tensor) -> Tensor:
    """``cosh(x)``."""
    return x.cosh()


@impl("erf")
def erf(x: Tensor) -> Tensor:
    """``erf(x)``."""
    return x.erf()


@impl("exp")
def exp(x: Tensor) -> Tensor:
    """``e ** x``."""
    return x.exp()


@impl("exp2")
def exp2(x: Tensor) -> Tensor:
    """``2 ** x``; for integers through float64, which holds every int32 power."""
    return x.exp2() if x.is_floating_point() else x.double().exp2()


@impl("floor")
def floor(x: Tensor) -> Tensor:
    """``floor(x)``."""
    return x.floor()


@impl("inverse")
def inverse(ctx: Context, x: Tensor, epsilon: float = 1e-4) -> Tensor:
    """``1 / (x + epsilon)``."""
    return ctx.divisor(x + epsilon).reciprocal()


@impl("log")
def log(ctx: Context, x: Tensor, epsilon: float = 1e-45) -> Tensor:
    """``ln(x + epsilon)``."""
    return ctx.log(x, epsilon)


@impl("logical_not", moves=True)
def logical_not(x: Tensor) -> Tensor:
    """``not x``."""
    return x.logical_not()


@impl("round")
def round_(x: Tensor) -> Tensor:
    """``x`` to the nearest integer, halves to even."""
    return x.round()


@impl("rsqrt")
def rsqrt(ctx: Context, x: Tensor, epsilon: float = 1e-12) -> Tensor:
    """``1 / sqrt(x + epsilon)``."""
    return ctx.under_root(x + epsilon).rsqrt()


@impl("sign")
def sign(x: Tensor) -> Tensor:
    """-1, 0 or 1; of NaN, NaN."""
    return torch.where(x.isnan(), x, x.sign())


@impl("sin")
def sin(x: Tensor) -> Tensor:
    """``sin(x)``."""
    return x.sin()


@impl("sinh")
def sinh(x: Tensor) -> Tensor:
    """``sinh(x)``."""
    return x.sinh()


@impl("sqrt")
def sqrt(ctx: Context, x: Tensor) -> Tensor:
    """``sqrt(x)``."""
    return ctx.under_root(x).sqrt()


@impl("square")
def square(x: Tensor) -> Tensor:
    """``x * x``."""
    return x * x


@impl("tan")
def tan(x: Tensor) -> Tensor:
    """``tan(x)``."""
    return x.tan()


@impl("tanh")
def tanh(x: Tensor) -> Tensor:
    """``tanh(x)``."""
    return x.tanh()


@impl("threshold")
def threshold(x: Tensor, alpha: Tensor) -> Tensor:
    """``max(x, alpha)``."""
    return torch.maximum(x, alpha)
