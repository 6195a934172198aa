"""Recognise a row concatenated with its own negative, ``[x, -x]`` or ``[-x, x]``, as the input of a layer norm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ane_rms import mil
from ane_rms.grammar.values import same

if TYPE_CHECKING:
    import numpy.typing as npt

UNIFORM = 2.0**-10
"""A gamma nearer to 1 than this counts as none; the constants of a lowering are rounded to float16."""

DEEPEST = 4
"""Largest number of negations, products and quotients that are compared inside each other."""


@dataclass(frozen=True, slots=True)
class Doubled:
    """A row and its negative, concatenated along ``axis`` of the layer norm's input and followed by ``pads``."""

    halves: tuple[mil.Var, mil.Var]
    axis: int
    pads: npt.NDArray[np.float64] | None
    scale: mil.Var | None
    """The divisor of the row and the pads, if there are pads."""
    permutation: tuple[int, ...] | None
    """The permutation of the doubled row's axes before the layer norm, or None."""


def doubled(var: mil.Var) -> Doubled | None:
    """Return the row that ``var`` concatenates with its negative, looking through transposes."""
    permutation: tuple[int, ...] | None = None
    while (moved := mil.producer(mil.base(var), "transpose")) is not None:
        given = mil.const_value(moved.perm)
        if given is None:
            return None
        step = tuple(int(axis) % var.rank for axis in given)
        permutation = step if permutation is None else tuple(step[axis] for axis in permutation)
        var = moved.x
    join = mil.producer(mil.base(var), "concat")
    if join is None or len(join.values) not in (2, 3) or (join.interleave is not None and bool(join.interleave.val)):
        return None
    first, second, *more = join.values
    axis = mil.scalar(join.axis)
    if axis is None or mil.shape(first) != mil.shape(second) or _sign(first, second) != -1:
        return None
    at = int(axis) % join.outputs[0].rank
    at = at if permutation is None else permutation.index(at)
    if not more:
        return Doubled((first, second), at, None, None, permutation)
    pads = _pads(more[0], first)
    return None if pads is None else Doubled((first, second), at, pads[0], pads[1], permutation)


def _sign(one: mil.Var, other: mil.Var, depth: int = 0) -> int:
    """Return 1 if two values are equal, -1 if one is the negative of the other, 0 if neither is known.

    Both may be products or quotients, as in ``[x / m, -x / m]`` and ``[x * 0.125, x * -0.125]``.
    """
    if same(one, other):
        return 1
    if depth > DEEPEST:
        return 0
    for first, second in ((one, other), (other, one)):
        if (positive := _negated(first)) is not None:
            return -_sign(positive, second, depth + 1)
    a, b = mil.floats(one), mil.floats(other)
    if a is not None and b is not None:
        return -1 if a.shape == b.shape and np.array_equal(a, -b) else 0
    p, q = (mil.producer(mil.base(var), "mul", "real_div") for var in (one, other))
    if p is None or q is None or p.op_type != q.op_type:
        return 0
    found = _sign(p.x, q.x, depth + 1) * _sign(p.y, q.y, depth + 1)
    return found or (_sign(p.x, q.y, depth + 1) * _sign(p.y, q.x, depth + 1) if p.op_type == "mul" else 0)


def _negated(var: mil.Var) -> mil.Var | None:
    """Return the value that ``var`` is the negative of, if it is written so."""
    op = mil.producer(mil.base(var), "mul", "sub", "real_div")
    if op is None:
        return None
    if op.op_type == "sub":
        return op.y if mil.scalar(op.x) == 0 else None
    if op.op_type == "real_div":
        return op.x if mil.scalar(op.y) == -1 else None
    return next((one for one, other in ((op.x, op.y), (op.y, op.x)) if _is_minus_one(other)), None)


def _is_minus_one(var: mil.Var) -> bool:
    value = mil.floats(var)
    return value is not None and value.size > 0 and bool((value == -1).all())


def _pads(var: mil.Var, row: mil.Var) -> tuple[npt.NDArray[np.float64], mil.Var] | None:
    """Return constants whose sum is 0, and the common divisor of them and the row."""
    over, of_row = mil.producer(mil.base(var), "real_div"), mil.producer(mil.base(row), "real_div")
    if over is None or of_row is None or not same(over.y, of_row.y):
        return None
    pads = mil.floats(over.x)
    return (
        (pads, over.y) if pads is not None and abs(float(pads.sum())) <= UNIFORM * float(np.abs(pads).sum()) else None
    )
