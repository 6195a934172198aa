"""Find the half of a doubled row that a program keeps: by a slice, a split or a gather of constant positions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ane_rms import mil
from ane_rms.grammar.layout import MOVES, SIGN, Layout, half_taken, moved, order_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@dataclass(frozen=True, slots=True)
class Half:
    """A value that is the first (0) or second (1) half of a doubled row.

    ``source`` is the position, in the row's sources, of the one whose axes are those of the value; axis i of the value
    is axis ``order[i]`` of that source.
    """

    value: mil.Var
    which: int
    source: int
    order: tuple[int, ...]


Laid = tuple[tuple[mil.Var, Layout], ...]
"""The sources of a row, and the layout of a value in each of them."""


def kept_halves(value: mil.Var, laid: Laid) -> Iterator[Half]:
    """Yield every value that is a half of ``value``, looking through ops that only regroup elements.

    Parameters
    ----------
    value: the doubled row.
    laid: the sources of the row, the nearest first, with the row's layout in each.
    """
    for op in value.child_ops:
        if op.op_type in MOVES:
            after = _after(laid, op)
            if after:
                yield from kept_halves(op.outputs[0], after)
            continue
        for one, axis, taken in _selections(op, value):
            which = half_taken(laid[0][1][axis], taken) if axis < value.rank else None
            if which is None or not (one.child_ops or one.consuming_blocks):
                continue
            kept = tuple((source, _without_sign(layout, axis, one.rank)) for source, layout in laid)
            half = _settled(one, which, kept)
            if half is not None:
                yield half


def _after(laid: Laid, op: mil.Op) -> Laid:
    after = [(source, moved(layout, op)) for source, layout in laid]
    known = tuple((source, layout) for source, layout in after if layout is not None)
    return known if len(known) == len(laid) else ()


def _without_sign(layout: Layout, axis: int, rank: int) -> Layout:
    """Return the layout of a half; the axis of the sign is absent if the half has one axis less."""
    kept = tuple(part for part in layout[axis] if part[0] != SIGN)
    return (*layout[:axis], *((kept,) if rank == len(layout) else ()), *layout[axis + 1 :])


def _settled(value: mil.Var, which: int, laid: Laid) -> Half | None:
    """Return the half where its axes are those of a source, after ops that regroup it if it is read by them alone."""
    while laid:
        for at, (source, layout) in enumerate(laid):
            order = order_of(layout, source)
            if order is not None:
                return Half(value, which, at, order)
        if not mil.is_interior(value) or (op := value.child_ops[0]).op_type not in MOVES:
            return None
        laid, value = _after(laid, op), op.outputs[0]
    return None


def _selections(op: mil.Op, value: mil.Var) -> Iterator[tuple[mil.Var, int, Sequence[int]]]:
    """Yield (result, axis, positions) for each result that takes positions of one axis and the other axes whole."""
    if op.op_type == "split":
        yield from _of_split(op)
    elif op.op_type == "gather" and op.x is value:
        yield from _of_gather(op)
    elif op.op_type in ("slice_by_index", "slice_by_size"):
        found = _of_slice(op) if op.op_type == "slice_by_index" else _of_size(op)
        if found is not None:
            yield op.outputs[0], *found


def _of_split(op: mil.Op) -> Iterator[tuple[mil.Var, int, Sequence[int]]]:
    along = mil.scalar(op.axis)
    if along is None:
        return
    axis, start = int(along) % op.x.rank, 0
    for one in op.outputs:
        size = mil.shape(one)[axis]
        if not isinstance(size, int):
            return
        yield one, axis, range(start, start + size)
        start += size


def _of_gather(op: mil.Op) -> Iterator[tuple[mil.Var, int, Sequence[int]]]:
    along, given = mil.scalar(op.axis), mil.const_value(op.indices)
    batch = getattr(op, "batch_dims", None)
    if along is None or given is None or given.ndim > 1 or (batch is not None and mil.scalar(batch) != 0):
        return
    axis = int(along) % op.x.rank
    size = mil.shape(op.x)[axis]
    if isinstance(size, int):
        yield op.outputs[0], axis, [int(one) % size for one in np.atleast_1d(given)]


def _of_size(op: mil.Op) -> tuple[int, Sequence[int]] | None:
    begin = None if op.begin is None else mil.const_value(op.begin)
    if begin is None:
        return None
    starts = [int(one) for one in np.atleast_1d(begin)]
    shape, given = mil.shape(op.outputs[0]), mil.shape(op.x)
    cut = [axis for axis in range(op.x.rank) if shape[axis] != given[axis]]
    if len(cut) != 1 or any(start for axis, start in enumerate(starts) if axis != cut[0]):
        return None
    (axis,) = cut
    size = shape[axis]
    return (axis, range(starts[axis], starts[axis] + size)) if isinstance(size, int) else None


def _of_slice(op: mil.Op) -> tuple[int, Sequence[int]] | None:
    rank, shape = op.x.rank, mil.shape(op.x)
    given = {name: _integers(getattr(op, name), rank, default) for name, default in _DEFAULTS.items()}
    cut: list[tuple[int, Sequence[int]]] = []
    for axis in range(rank):
        of_axis = {name: None if value is None else value[axis] for name, value in given.items()}
        if None in of_axis.values():
            return None
        if _is_whole(of_axis, shape[axis], op, axis):
            continue
        size = shape[axis]
        if not isinstance(size, int):
            return None
        begin, end, stride = (of_axis[name] for name in ("begin", "end", "stride"))
        if of_axis["squeeze_mask"]:
            cut.append((axis, [int(begin or 0) % size]))
        else:
            bounds = slice(None if of_axis["begin_mask"] else begin, None if of_axis["end_mask"] else end, stride)
            cut.append((axis, range(size)[bounds]))
    return cut[0] if len(cut) == 1 else None


def _is_whole(given: dict[str, int | None], size: int | str, op: mil.Op, axis: int) -> bool:
    """Return whether a slice takes an axis whole."""
    if given["squeeze_mask"] or given["stride"] != 1 or not (given["begin_mask"] or given["begin"] == 0):
        return False
    squeezed = op.outputs[0].rank != op.x.rank
    return bool(
        given["end_mask"]
        or given["end"] == size
        or (isinstance(size, int) and not squeezed and mil.shape(op.outputs[0])[axis] == size)
    )


_DEFAULTS = {"begin": None, "end": None, "stride": 1, "begin_mask": 0, "end_mask": 0, "squeeze_mask": 0}


def _integers(var: mil.Var | None, rank: int, default: int | None) -> list[int] | None:
    value = None if var is None else mil.const_value(var)
    if var is not None and value is None:
        return None
    if value is not None:
        return [int(one) for one in np.atleast_1d(value)]
    return None if default is None else [default] * rank
