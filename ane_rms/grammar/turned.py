"""Follow a mean of squares, or its root, through a ``transpose``: it is that of x transposed in the same way.

``mean(x^2 over a)^T = mean((x^T)^2 over a')``, with the axes where the transpose moves them. The transposed x must be a
value of the program, because a norm reads it: x before its own transpose, or a transpose of it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ane_rms import mil
from ane_rms.grammar.spread import is_along

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ane_rms.grammar.forms import Quadratic


def turned(q: Quadratic, op: mil.Op) -> Quadratic | None:
    """Return the quadratic that the ``transpose`` ``op`` of a quadratic, or of its root, is one of; None for others."""
    order = _order(op)
    if order is None or op.x.rank != q.x.rank or not is_along(q, op.x):
        return None
    x = _transposed(q.x, order)
    axes = tuple(sorted(order.index(axis) for axis in q.axes))
    return None if x is None else replace(q, x=x, axes=axes, is_turned=not q.is_turned)


def _transposed(x: mil.Var, order: Sequence[int]) -> mil.Var | None:
    """Return the first value of a block that is ``x`` transposed, in two steps or one; None if there is none."""
    found = _among(x, order)
    above = mil.producer(x, "transpose")
    before = None if above is None else _order(above)
    if found is not None or above is None or before is None:
        return found
    whole = [before[axis] for axis in order]
    return above.x if whole == sorted(whole) else _among(above.x, whole)


def _among(x: mil.Var, order: Sequence[int]) -> mil.Var | None:
    """Return the first transpose of ``x`` with this order that an op beside the one that makes ``x`` computes."""
    found = [op for op in x.child_ops if op.op_type == "transpose" and _order(op) == list(order)]
    if len(found) < 2 or any(op.enclosing_block is not found[0].enclosing_block for op in found):
        return found[0].outputs[0] if found else None
    return next(op for op in found[0].enclosing_block.operations if op in found).outputs[0]


def _order(op: mil.Op) -> list[int] | None:
    given = mil.const_value(op.perm)
    return None if given is None else [int(axis) % op.x.rank for axis in given]
