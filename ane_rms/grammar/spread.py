"""Compare values by the axes along which they vary: means put back over a row, and constants broadcast to it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ane_rms import mil
from ane_rms.grammar.forms import reduced_axes, times_number
from ane_rms.grammar.values import same

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ane_rms.grammar.forms import Quadratic

SPREADING = ("expand_dims", "reshape", "squeeze", "tile")
"""Ops that put a mean's axes back, or repeat it along them."""


def centred_on(x: mil.Var) -> tuple[mil.Var, tuple[int, ...]] | None:
    """Return (h, axes) if x is ``h - mean(h over axes)``, however the mean is written and broadcast."""
    op = mil.float_producer(x, "sub")
    if op is None:
        return None
    value, factor = op.y, 1.0
    while (inner := mil.float_producer(value, *SPREADING, "mul", "real_div")) is not None:
        scaled = (inner.x, 1.0) if inner.op_type in SPREADING else times_number(inner)
        if scaled is None:
            return None
        value, factor = scaled[0], factor * scaled[1]
    mean = mil.float_producer(value, "reduce_mean", "reduce_sum")
    if mean is None or not same(mean.x, op.x):
        return None
    axes = reduced_axes(mean)
    counts = [mil.shape(op.x)[axis] for axis in axes] if mean.op_type == "reduce_sum" else []
    if not all(isinstance(n, int) for n in counts) or not _lies_along(op.y, op.x, axes):
        return None
    is_mean = math.isclose(factor * math.prod(int(n) for n in counts), 1.0, rel_tol=2.0**-11)
    return (op.x, axes) if is_mean else None


def is_along(q: Quadratic, var: mil.Var) -> bool:
    """Return whether ``var`` has x's shape, with reduced axes of length 1 or x's: it scales x along the other axes."""
    return _lies_along(var, q.x, q.axes)


def _lies_along(var: mil.Var, x: mil.Var, axes: tuple[int, ...]) -> bool:
    shape, expected = mil.shape(var), mil.shape(x)
    if len(shape) > len(expected):
        return False
    padded = (1,) * (len(expected) - len(shape)) + shape
    lengths = enumerate(zip(padded, expected, strict=True))
    return all(n in (1, m) if axis in axes else n == m for axis, (n, m) in lengths)


def narrowed(constant: npt.NDArray[np.float64], rank: int) -> npt.NDArray[np.float64]:
    """Return a constant of rank ``rank`` or more, with length 1 along axes along which its elements do not vary."""
    spread = constant.reshape((1,) * (rank - constant.ndim) + constant.shape)
    for axis, n in enumerate(spread.shape):
        first = spread.take([0], axis=axis) if n > 1 else spread
        if n > 1 and (spread == first).all():
            spread = first
    return spread
