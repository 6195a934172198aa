"""Find the half of a doubled row that a program keeps, by ``slice_by_index``, ``slice_by_size`` or ``split``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ane_rms import mil

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Half:
    """A value that is the first (0) or second (1) half of a doubled row; its axis i is axis ``order[i]`` of the row."""

    value: mil.Var
    which: int
    order: tuple[int, ...]


def kept_halves(value: mil.Var, axis: int, width: int, order: tuple[int, ...] | None = None) -> Iterator[Half]:
    """Yield every value that is a half of ``value``.

    Parameters
    ----------
    value: the doubled row; casts between float types and transposes are looked through.
    axis: the axis along which it is doubled, counted from the front.
    width: number of elements of a half.
    order: the permutation of the axes so far. Default: the identity.
    """
    order = tuple(range(value.rank)) if order is None else order
    for op in value.child_ops:
        if op.op_type == "cast" and mil.is_float(op.outputs[0]):
            yield from kept_halves(op.outputs[0], axis, width, order)
        elif op.op_type == "transpose" and (given := mil.const_value(op.perm)) is not None:
            moved = [int(one) % value.rank for one in given]
            yield from kept_halves(op.outputs[0], moved.index(axis), width, tuple(order[one] for one in moved))
        elif op.op_type == "split":
            yield from (Half(one, which, order) for one, which in _of_split(op, axis, width))
        elif op.op_type in ("slice_by_index", "slice_by_size"):
            start = _start_by_index(op, axis, width) if op.op_type == "slice_by_index" else _start(op, axis, width)
            if start in (0, width):
                yield Half(op.outputs[0], int(start > 0), order)


def _of_split(op: mil.Op, axis: int, width: int) -> Iterator[tuple[mil.Var, int]]:
    along = mil.scalar(op.axis)
    sizes = [mil.shape(one)[axis] for one in op.outputs]
    if along is None or int(along) % op.x.rank != axis or sizes != [width, width]:
        return
    for half, one in enumerate(op.outputs):
        if one.child_ops or one.consuming_blocks:
            yield one, half


def _start(op: mil.Op, axis: int, width: int) -> int | None:
    """Return the start of a ``slice_by_size`` along ``axis``, if it takes ``width`` there and the other axes whole."""
    begin = None if op.begin is None else mil.const_value(op.begin)
    shape, whole = mil.shape(op.outputs[0]), mil.shape(op.x)
    if begin is None or [n for i, n in enumerate(shape) if i != axis] != [n for i, n in enumerate(whole) if i != axis]:
        return None
    starts = [int(one) for one in np.atleast_1d(begin)]
    if shape[axis] != width or any(one for i, one in enumerate(starts) if i != axis):
        return None
    return starts[axis]


def _start_by_index(op: mil.Op, axis: int, width: int) -> int | None:
    """Return the start of a ``slice_by_index`` along ``axis``, if it takes ``width`` there and the other axes whole."""
    rank, shape = op.x.rank, mil.shape(op.x)
    given = {name: _integers(getattr(op, name), rank, default) for name, default in _DEFAULTS.items()}
    begin, end = given["begin"], given["end"]
    if begin is None or end is None or given["squeeze_mask"] != [0] * rank or given["stride"] != [1] * rank:
        return None
    begin_mask, end_mask = given["begin_mask"] or [0] * rank, given["end_mask"] or [0] * rank
    result = mil.shape(op.outputs[0])
    for at in range(rank):
        if at == axis:
            continue
        starts = begin_mask[at] or begin[at] == 0
        ends = end_mask[at] or end[at] == shape[at] or (isinstance(shape[at], int) and result[at] == shape[at])
        if not (starts and ends):
            return None
    size = 2 * width
    start = 0 if begin_mask[axis] else begin[axis] % size
    stop = size if end_mask[axis] or end[axis] >= size else end[axis] % size
    return start if stop - start == width else None


_DEFAULTS = {"begin": None, "end": None, "stride": 1, "begin_mask": 0, "end_mask": 0, "squeeze_mask": 0}


def _integers(var: mil.Var | None, rank: int, default: int | None) -> list[int] | None:
    value = None if var is None else mil.const_value(var)
    if var is not None and value is None:
        return None
    if value is not None:
        return [int(one) for one in np.atleast_1d(value)]
    return None if default is None else [default] * rank
