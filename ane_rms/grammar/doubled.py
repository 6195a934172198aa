"""Recognise a row joined with its own negative, ``[x, -x]`` or ``[-x, x]``, as the input of a layer norm.

Either the two are joined, or a row that is repeated (by ``tile``, a join with itself, or broadcasting) is multiplied by
constants of 1 and -1, or a matrix makes both (:mod:`ane_rms.grammar.matrices`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ane_rms import mil
from ane_rms.grammar.copies import before, copies, half_as_it_is, interleaves, joined, laid_out, through
from ane_rms.grammar.layout import REGROUPING, whole
from ane_rms.grammar.matrices import MATRICES, doubling_product
from ane_rms.grammar.values import same

if TYPE_CHECKING:
    from collections.abc import Sequence

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

    laid: tuple[Laid, Laid]
    """For each half, the values that hold its elements, itself first, with the layer norm's input as laid out in them.

    The axis that tells the half from its negative is :data:`~ane_rms.grammar.layout.SIGN` in them.
    """
    pads: npt.NDArray[np.float64] | None = None
    scale: mil.Var | None = None
    """The divisor of the row and the pads, if there are pads."""
    negative: int | None = None
    """The half that is the negative of the value in ``laid``, because constants give its sign."""


def doubled(var: mil.Var) -> Doubled | None:
    """Return the row that ``var`` joins with its negative, looking through ops that only regroup elements."""
    var, path = before(var)
    join = mil.producer(mil.base(var), "concat", "stack", "mul", "real_div", *MATRICES)
    if join is None:
        return None
    if join.op_type in MATRICES:
        return _by_matrix(join, path)
    if join.op_type in ("mul", "real_div"):
        return _signed(join, path)
    if len(join.values) not in (2, 3):
        return None
    first, second, *more = join.values
    axis = mil.scalar(join.axis)
    if axis is None or mil.shape(first) != mil.shape(second) or _sign(first, second) != -1:
        return None
    into = partial(joined, join=join, axis=int(axis))
    laid = laid_out(first, into, path), laid_out(second, into, path)
    if not all(laid):
        return None
    if not more:
        return Doubled(laid)
    pads = _pads(more[0], first) if join.op_type == "concat" and not interleaves(join) else None
    return None if pads is None else Doubled(laid, *pads)


def _signed(op: mil.Op, path: Sequence[mil.Op]) -> Doubled | None:
    """Return the row that a product with constants of 1 and -1 doubles, if the row is repeated for them."""
    for value, constant in ((op.x, op.y), (op.y, op.x))[: 1 if op.op_type == "real_div" else 2]:
        signs = mil.floats(constant)
        if signs is None or not (np.abs(signs) == 1).all():
            continue
        shape = mil.shape(op.outputs[0])
        copy = copies(value, shape)
        if copy is None:
            return None
        source, into = copy
        kept = half_as_it_is(into(whole(source)), signs)
        laid = laid_out(source, into, path)
        return None if kept is None or not laid else Doubled((laid, laid), negative=1 - kept)
    return None


def _by_matrix(op: mil.Op, path: Sequence[mil.Op]) -> Doubled | None:
    """Return the row that a product with a constant matrix doubles."""
    made = doubling_product(op)
    if made is None or made.sign is None:
        return None
    laid = laid_out(made.value, made.into, path)
    return Doubled((laid, laid), negative=1 if made.sign == 1 else 0) if laid else None


def product_and_negative(var: mil.Var) -> tuple[mil.Op, Layout] | None:
    """Return the op that makes a product and its negative with one matrix, and the layout of ``var`` in the product."""
    var, path = before(var)
    op = mil.producer(mil.base(var), *MATRICES)
    made = None if op is None else doubling_product(op)
    layout = None if made is None else through(made.layout, path)
    return None if made is None or layout is None else (made.op, layout)


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
