"""Recognise a row joined with its own negative, ``[x, -x]`` or ``[-x, x]``, as the input of a layer norm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ane_rms import mil
from ane_rms.grammar.layout import REGROUPING, SIGN, moved, whole
from ane_rms.grammar.values import same

if TYPE_CHECKING:
    import numpy.typing as npt

    from ane_rms.grammar.halves import Laid
    from ane_rms.grammar.layout import Layout

UNIFORM = 2.0**-10
"""A gamma nearer to 1 than this counts as none; the constants of a lowering are rounded to float16."""

COMPARED = ("mul", "real_div", "sub", "transpose", *REGROUPING)
DEEPEST = 4
"""Largest number of negations, products and quotients that are compared inside each other."""


@dataclass(frozen=True, slots=True)
class Doubled:
    """A row and its negative, joined into the input of a layer norm, along an axis of it that ``pads`` may follow."""

    halves: tuple[mil.Var, mil.Var]
    laid: tuple[Laid, Laid]
    """For each half, the values that hold its elements, itself first, with the layer norm's input as laid out in them.

    The axis that tells the half from its negative is :data:`~ane_rms.grammar.layout.SIGN` in them.
    """
    pads: npt.NDArray[np.float64] | None
    scale: mil.Var | None
    """The divisor of the row and the pads, if there are pads."""


def doubled(var: mil.Var) -> Doubled | None:
    """Return the row that ``var`` joins with its negative, looking through ops that only regroup elements."""
    path: list[mil.Op] = []
    while (op := mil.producer(mil.base(var), *REGROUPING, "transpose")) is not None:
        path.insert(0, op)
        var = op.x
    join = mil.producer(mil.base(var), "concat", "stack")
    if join is None or len(join.values) not in (2, 3):
        return None
    first, second, *more = join.values
    axis = mil.scalar(join.axis)
    if axis is None or mil.shape(first) != mil.shape(second) or _sign(first, second) != -1:
        return None
    laid = _laid(first, join, int(axis), path), _laid(second, join, int(axis), path)
    if not all(laid):
        return None
    if not more:
        return Doubled((first, second), laid, None, None)
    pads = _pads(more[0], first) if join.op_type == "concat" and not _interleaves(join) else None
    return None if pads is None else Doubled((first, second), laid, *pads)


def _interleaves(join: mil.Op) -> bool:
    return join.op_type == "concat" and join.interleave is not None and bool(join.interleave.val)


def _laid(half: mil.Var, join: mil.Op, axis: int, path: list[mil.Op]) -> Laid:
    """Return the values that hold the elements of a half, with the layout in them after the join and ``path``."""
    found: list[tuple[mil.Var, Layout]] = []
    before: list[mil.Op] = []
    source = half
    while True:
        layout: Layout | None = whole(source)
        for op in before:
            layout = None if layout is None else moved(layout, op)
        layout = None if layout is None else _joined(layout, join, axis)
        for op in path:
            layout = None if layout is None else moved(layout, op)
        if layout is None:
            return tuple(found)
        found.append((source, layout))
        above = mil.producer(source, *REGROUPING, "transpose")
        if above is None:
            return tuple(found)
        before.insert(0, above)
        source = above.x


def _joined(layout: Layout, join: mil.Op, axis: int) -> Layout:
    """Return the layout of a value joined with its negative."""
    at, sign = axis % join.outputs[0].rank, (SIGN, 1, 2)
    if join.op_type == "stack":
        return (*layout[:at], (sign,), *layout[at:])
    along = (*layout[at], sign) if _interleaves(join) else (sign, *layout[at])
    return (*layout[:at], along, *layout[at + 1 :])


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
    p, q = (mil.producer(mil.base(var), *COMPARED) for var in (one, other))
    if p is None or q is None or p.op_type != q.op_type:
        return 0
    if p.op_type == "sub":
        return -1 if same(p.x, q.y) and same(p.y, q.x) else 0
    if p.op_type not in ("mul", "real_div"):
        return _sign(p.x, q.x, depth + 1) if _regroup_alike(p, q) else 0
    found = _sign(p.x, q.x, depth + 1) * _sign(p.y, q.y, depth + 1)
    return found or (_sign(p.x, q.y, depth + 1) * _sign(p.y, q.x, depth + 1) if p.op_type == "mul" else 0)


def _regroup_alike(one: mil.Op, other: mil.Op) -> bool:
    """Return whether two ops that only regroup elements do so in the same way."""
    if one.op_type != "transpose":
        return mil.shape(one.x) == mil.shape(other.x) and mil.shape(one.outputs[0]) == mil.shape(other.outputs[0])
    return same(one.perm, other.perm)


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
