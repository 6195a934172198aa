"""Track a row that is repeated twice, by broadcasting, ``tile``, ``gather`` or a join with another value of its shape.

The axis that tells the two apart is :data:`~ane_rms.grammar.layout.SIGN` in the layout of the result.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ane_rms import mil
from ane_rms.grammar.layout import REGROUPING, SIGN, SIGNS, Layout, half_taken, moved, whole
from ane_rms.grammar.spread import narrowed
from ane_rms.grammar.values import same

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from ane_rms.grammar.halves import Laid

Into = Callable[[Layout], Layout | None]
"""Takes the layout of a row to that of the doubled row."""

Copy = tuple[mil.Var, Into]
"""The value that is repeated, and how."""


def before(var: mil.Var) -> tuple[mil.Var, list[mil.Op]]:
    """Return the value before ops that only regroup or move its elements, and those ops in order."""
    path: list[mil.Op] = []
    while (op := mil.producer(mil.base(var), *REGROUPING, "transpose")) is not None:
        path.insert(0, op)
        var = op.x
    return var, path


def through(layout: Layout | None, path: Sequence[mil.Op]) -> Layout | None:
    """Return the layout after ops that only regroup or move elements."""
    for op in path:
        layout = None if layout is None else moved(layout, op)
    return layout


def laid_out(half: mil.Var, into: Into, path: Sequence[mil.Op]) -> Laid:
    """Return the values that hold the elements of a half, with the layout in them after ``into`` and ``path``."""
    found: list[tuple[mil.Var, Layout]] = []
    passed: list[mil.Op] = []
    source = half
    while True:
        layout = through(whole(source), passed)
        layout = None if layout is None else through(into(layout), path)
        if layout is None:
            return tuple(found)
        found.append((source, layout))
        above = mil.producer(source, *REGROUPING, "transpose")
        if above is None:
            return tuple(found)
        passed.insert(0, above)
        source = above.x


def joined(layout: Layout, *, join: mil.Op, axis: int) -> Layout:
    """Return the layout of a value joined with another of its shape by a ``concat`` or ``stack``."""
    at = axis % join.outputs[0].rank
    if join.op_type == "stack":
        return (*layout[:at], (SIGNS,), *layout[at:])
    along = (*layout[at], SIGNS) if interleaves(join) else (SIGNS, *layout[at])
    return (*layout[:at], along, *layout[at + 1 :])


def interleaves(join: mil.Op) -> bool:
    """Return whether a join takes an element of each value in turn."""
    return join.op_type == "concat" and join.interleave is not None and bool(join.interleave.val)


def copies(value: mil.Var, shape: tuple[int | str, ...]) -> Copy | None:
    """Return how ``value``, broadcast to ``shape``, repeats a row twice; None if it does not."""
    return _broadcast(value, shape) or _repeated(value)


def half_as_it_is(layout: Layout | None, signs: npt.NDArray[np.float64]) -> int | None:
    """Return the half, 0 or 1, that signs leave as it is while they negate the other; None if they do neither."""
    at = next((i for i, parts in enumerate(layout or ()) if any(part[0] == SIGN for part in parts)), None)
    signs = narrowed(signs, len(layout or ()))
    if layout is None or at is None or signs.size != signs.shape[at]:
        return None
    return half_taken(layout[at], [int(one) for one in np.flatnonzero(signs.reshape(-1) == 1)])


def _broadcast(value: mil.Var, shape: tuple[int | str, ...]) -> Copy | None:
    """Return how a value is repeated by broadcasting along one axis of 2."""
    raised = len(shape) - value.rank
    given = (1,) * raised + mil.shape(value)
    changed = [i for i, (n, m) in enumerate(zip(given, shape, strict=True)) if n != m]
    if len(changed) != 1 or shape[changed[0]] != 2:
        return None
    (at,) = changed

    def into(layout: Layout) -> Layout:
        padded = ((),) * raised + layout
        return (*padded[:at], (SIGNS,), *padded[at + 1 :])

    return value, into


def _repeated(value: mil.Var) -> Copy | None:
    """Return how a value is repeated by a ``tile`` of 2 along one axis, a ``gather``, or a join with itself."""
    value, path = before(value)
    op = mil.producer(mil.base(value), "tile", "gather", "concat", "stack")
    if op is None:
        return None
    made: Copy | None = {"tile": _tiled, "gather": _gathered}.get(op.op_type, _joined_with_itself)(op)
    if made is None:
        return None
    source, into = made
    return source, lambda layout: through(into(layout), path)


def _gathered(op: mil.Op) -> Copy | None:
    """Return how a ``gather`` takes each position of an axis twice, all one after the other or each in turn."""
    along, taken = mil.scalar(op.axis), mil.const_value(op.indices)
    batch = getattr(op, "batch_dims", None)
    if along is None or taken is None or taken.ndim != 1 or (batch is not None and mil.scalar(batch) != 0):
        return None
    axis, positions = int(along) % op.x.rank, np.arange(len(taken))
    if mil.shape(op.x)[axis] * 2 != len(taken):
        return None
    if np.array_equal(taken, positions % (len(taken) // 2)):
        return op.x, lambda layout: (*layout[:axis], (SIGNS, *layout[axis]), *layout[axis + 1 :])
    if np.array_equal(taken, positions // 2):
        return op.x, lambda layout: (*layout[:axis], (*layout[axis], SIGNS), *layout[axis + 1 :])
    return None


def _tiled(op: mil.Op) -> Copy | None:
    reps = mil.const_value(op.reps)
    if reps is None or sorted(reps) != [1] * (op.x.rank - 1) + [2]:
        return None
    axis = int(np.argmax(reps))
    return op.x, lambda layout: (*layout[:axis], (SIGNS, *layout[axis]), *layout[axis + 1 :])


def _joined_with_itself(op: mil.Op) -> Copy | None:
    axis = mil.scalar(op.axis)
    if axis is None or len(op.values) != 2 or not same(*op.values):
        return None
    return op.values[0], partial(joined, join=op, axis=int(axis))
