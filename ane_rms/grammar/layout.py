"""Track where the elements of a value are while ops only regroup them: reshapes, transposes, added and removed axes.

A layout gives, for each axis of a value, the parts of the source's axes that it runs through, the slowest first. A part
is ``(axis of the source, stride in it, size)``, so that a reshape that splits an axis splits its part, and one that
joins axes lists their parts one after the other. :data:`SIGN` is the axis of a value and its negative, of size 2.

Two values hold the same elements in the same order if their layouts are equal, however they were written.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ane_rms import mil

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

Part = tuple[int, int, Any]
Layout = tuple[tuple[Part, ...], ...]

SIGN = -1
SIGNS = (SIGN, 1, 2)
"""The axis of a value and its negative."""
REGROUPING = ("reshape", "expand_dims", "squeeze", "identity")
MOVES = (*REGROUPING, "transpose", "cast")


def whole(var: mil.Var) -> Layout:
    """Return the layout of a value in itself."""
    return tuple(((axis, 1, size),) for axis, size in enumerate(var.shape))


def moved(layout: Layout, op: mil.Op) -> Layout | None:
    """Return the layout after an op of :data:`MOVES`; None if it is not known or the op is not one."""
    if op.op_type == "cast":
        return layout if mil.is_float(op.x) and mil.is_float(op.outputs[0]) else None
    if op.op_type == "transpose":
        given = mil.const_value(op.perm)
        return None if given is None else tuple(layout[int(axis) % len(layout)] for axis in given)
    if op.op_type not in REGROUPING:
        return None
    return _regrouped([part for axis in layout for part in axis], op.outputs[0].shape)


def _regrouped(parts: Sequence[Part], sizes: Iterable[Any]) -> Layout | None:
    """Distribute parts over axes of the given sizes, which may be symbols."""
    pending, axes = list(reversed(parts)), []
    for size in sizes:
        axis: list[Part] = []
        if mil.known(size) and size == 1 and pending and _is_one(pending[-1]):
            axis.append(pending.pop())
        left = size
        while not mil.known(left) or left != 1:
            while pending and _is_one(pending[-1]):
                pending.pop()
            taken = _taken(pending.pop(), left) if pending else None
            if taken is None:
                return None
            part, rest, left = taken
            axis.append(part)
            pending += [] if rest is None else [rest]
        axes.append(tuple(axis))
    return tuple(axes) if all(_is_one(part) for part in pending) else None


def _taken(part: Part, left: Any) -> tuple[Part, Part | None, Any] | None:
    """Return (what an axis takes of a part, the rest of the part, the elements that the axis still lacks)."""
    source, stride, size = part
    if not mil.known(size) or not mil.known(left):
        quotient = left / size
        numerator, denominator = (quotient, 1) if mil.known(quotient) else quotient.as_numer_denom()
        return (part, None, numerator) if denominator == 1 else None
    size, left = int(size), int(left)
    if size == 0 or left == 0:
        return None
    if left % size == 0:
        return part, None, left // size
    if size % left:
        return None
    inner = size // left
    return (source, stride * inner, left), (source, stride, inner), 1


def _is_one(part: Part) -> bool:
    return bool(mil.known(part[2]) and part[2] == 1)


def order_of(layout: Layout, source: mil.Var) -> tuple[int, ...] | None:
    """Return the permutation of the source's axes that a layout is; None if it is anything else."""
    if len(layout) != source.rank:
        return None
    order: list[int | None] = []
    for axis in layout:
        long = merged([part for part in axis if not _is_one(part)])
        if len(long) > 1 or any(source.shape[at] != size for at, _, size in long):
            return None
        only = long or (axis if len(axis) == 1 else ())
        order.append(only[0][0] if only else None)
    rest = [axis for axis in range(source.rank) if axis not in order]
    filled = tuple(axis if axis is not None else rest.pop(0) for axis in order if axis is not None or rest)
    return filled if sorted(filled) == list(range(source.rank)) else None


def merged(parts: Iterable[Part]) -> tuple[Part, ...]:
    """Return parts with those that follow each other in the source joined."""
    joined: list[Part] = []
    for source, stride, size in parts:
        if joined and joined[-1][0] == source and joined[-1][1] == stride * size:
            joined[-1] = (source, stride, joined[-1][2] * size)
        else:
            joined.append((source, stride, size))
    return tuple(joined)


def source_axes(layout: Layout, axes: Iterable[int], source: mil.Var) -> tuple[int, ...] | None:
    """Return the source's axes that these axes of a layout run through; None if they take a part of one."""
    counts: dict[int, Any] = {}
    for axis in axes:
        for at, _, size in layout[axis]:
            counts[at] = counts.get(at, 1) * size
    found = tuple(sorted(at for at in counts if at != SIGN))
    return found if found and all(counts[at] == source.shape[at] for at in found) else None


def half_taken(axis: Sequence[Part], taken: Sequence[int]) -> int | None:
    """Return 0 or 1 if these elements of an axis, in order, are the value or its negative; else None."""
    sizes = [part[2] for part in axis]
    at = next((i for i, part in enumerate(axis) if part[0] == SIGN), None)
    if at is None or not all(mil.known(size) for size in sizes):
        return None
    total, inner = math.prod(int(size) for size in sizes), math.prod(int(size) for size in sizes[at + 1 :])
    signs = np.arange(total) // inner % 2
    return next((half for half in (0, 1) if np.array_equal(np.flatnonzero(signs == half), taken)), None)


def half_of(
    values: npt.NDArray[np.float64], parts: Sequence[Part], which: int, order: Sequence[int]
) -> npt.NDArray[np.float64]:
    """Return the half of constants that multiply these parts, with the source's axes in the given order.

    The result is flat: the source's axes that the parts run through, one after the other.
    """
    spread = values.reshape([int(size) for _, _, size in parts])
    sign = next(i for i, part in enumerate(parts) if part[0] == SIGN)
    rest = [part for part in parts if part[0] != SIGN]
    ranked = sorted(range(len(rest)), key=lambda i: (order.index(rest[i][0]), -rest[i][1]))
    half: npt.NDArray[np.float64] = np.take(spread, which, axis=sign).transpose(ranked)
    return half.reshape(-1)
