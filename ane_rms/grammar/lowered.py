r"""RMSNorms that stand lowered already, by hand or by a conversion before.

.. math::  \operatorname{LayerNorm}([x, -x, p])_{first\ d}
           = \sqrt{\tfrac{2d + n}{2d}} \cdot \frac{x}{\sqrt{\operatorname{mean}(x^2) + \tfrac{1}{2d} \sum p^2 + e}}

with ``n`` elements ``p`` whose sum is 0 (none, as a rule; they carry epsilon where the layer norm's ``e`` is 0). The
doubled row may be negated first or last, along any of the normalised axes, and moved by a transpose; the layer norm is
one op or its primitives; either half is kept, by a slice or a split; gamma stands inside or after.

``l2_norm`` and ``max_abs`` are in :mod:`ane_rms.grammar.other_forms`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ane_rms import mil
from ane_rms.grammar.deviation import normalised
from ane_rms.grammar.forms import LoweredNorm, Root, same
from ane_rms.grammar.halves import kept_halves
from ane_rms.grammar.other_forms import other_form
from ane_rms.grammar.product import product
from ane_rms.grammar.root import root

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

UNIFORM = 2.0**-10
"""A gamma nearer to 1 than this is none: what the constants of a lowering round to in float16."""


@dataclass(frozen=True, slots=True)
class LayerNormed:
    """One layer norm without beta: ``value`` is that of ``source``, whatever computes it."""

    value: mil.Var
    source: mil.Var
    axes: tuple[int, ...]
    epsilon: float
    gamma: npt.NDArray[np.float64] | None
    form: str
    root: mil.Op | None = None


@dataclass(frozen=True, slots=True)
class Doubled:
    """A row and its negative, joined along ``axis`` of the layer norm's input; ``pads`` follow them."""

    halves: tuple[mil.Var, mil.Var]
    axis: int
    pads: npt.NDArray[np.float64] | None
    scale: mil.Var | None
    """What the row and the pads are divided by, where there are pads."""
    permutation: tuple[int, ...] | None
    """How the axes of the joined row are moved before the layer norm, or None."""


def lowered_norms(ops: Sequence[mil.Op]) -> list[LoweredNorm]:
    """Return the RMSNorms of one block that stand lowered, in the order of its ops."""
    found: dict[int, LoweredNorm] = {}
    for op in ops:
        if op.op_type in ("layer_norm", "mul", "real_div"):
            for one in _in_layer_norm(op):
                found[id(one.op)] = one
        other = other_form(op)
        if other is not None:
            for part in other.interior:
                found.pop(id(part), None)
            found[id(op)] = other
    return [found[id(op)] for op in ops if id(op) in found]


def _in_layer_norm(op: mil.Op) -> Iterator[LoweredNorm]:
    normal = _layer_norm(op) if op.op_type == "layer_norm" else _primitives(op)
    row = None if normal is None else _doubled(normal.source)
    if normal is None or row is None or row.axis not in normal.axes:
        return
    width = mil.shape(row.halves[0])[row.axis if row.permutation is None else row.permutation[row.axis]]
    if not isinstance(width, int) or (row.pads is not None and (normal.epsilon or row.scale is None)):
        return
    for value, half in kept_halves(normal.value, row.axis, width):
        norm = _kept(normal, row, value, half, width)
        if norm is not None:
            yield norm


def _layer_norm(op: mil.Op) -> LayerNormed | None:
    """Return what a ``layer_norm`` op computes, if it adds nothing."""
    rank = op.x.rank
    given = range(rank) if op.axes is None else np.atleast_1d(op.axes.val)
    axes = mil.positive_axes([int(axis) for axis in given], rank)
    gamma, beta = (None if var is None else mil.floats(var) for var in (op.gamma, op.beta))
    if (op.gamma is not None and gamma is None) or (op.beta is not None and (beta is None or beta.any())):
        return None
    epsilon = mil.scalar(op.epsilon)
    form = "layer_norm" if gamma is None else "layer_norm_affine"
    return None if epsilon is None else LayerNormed(op.outputs[0], op.x, axes, epsilon, gamma, form)


def _primitives(op: mil.Op) -> LayerNormed | None:
    """Return the layer norm that ends in a product: ``(c - mean(c)) * (mean((c - mean(c))^2) + e)^(-1/2)``."""
    flat = product(op)
    for at, (var, power) in enumerate(flat.factors):
        found = root(var)
        if not isinstance(found, Root) or found.power * power != -1 or found.outside or found.floor:
            continue
        centred = mil.producer(mil.base(found.quadratic.x), "sub")
        rest = flat.factors[:at] + flat.factors[at + 1 :]
        if centred is None or len(rest) != 1 or rest[0][1] != 1 or not same(rest[0][0], found.quadratic.x):
            continue
        mean = mil.producer(mil.base(centred.y), "reduce_mean")
        if mean is None or not same(mean.x, centred.x):
            continue
        sizes = [mil.shape(centred.x)[axis] for axis in found.quadratic.axes]
        if not all(isinstance(size, int) for size in sizes):
            continue
        scale, epsilon, _ = normalised(found, math.prod(int(size) for size in sizes))
        total: npt.NDArray[np.float64] = np.full((1,) * centred.x.rank, scale)
        for constant, sign in flat.constants:
            total = total * constant if sign == 1 else total / constant
        gamma = None if _is_uniform(total) else _along(total, mil.shape(centred.x), found.quadratic.axes)
        form = "layer_norm_primitives"
        return LayerNormed(op.outputs[0], centred.x, found.quadratic.axes, epsilon, gamma, form, found.op)
    return None


def _doubled(var: mil.Var) -> Doubled | None:
    """Return the row that ``var`` joins with its negative, looking through transposes."""
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
    if axis is None or not (_is_negative(second, first) or _is_negative(first, second)):
        return None
    at = int(axis) % join.outputs[0].rank
    at = at if permutation is None else permutation.index(at)
    if not more:
        return Doubled((first, second), at, None, None, permutation)
    pads = _pads(more[0], first)
    return None if pads is None else Doubled((first, second), at, pads[0], pads[1], permutation)


def _is_negative(var: mil.Var, of: mil.Var) -> bool:
    """Return whether ``var`` is ``-of``."""
    op = mil.producer(mil.base(var), "mul", "sub", "real_div")
    if op is None:
        return False
    if op.op_type == "sub":
        return mil.scalar(op.x) == 0 and same(op.y, of)
    if op.op_type == "real_div":
        return mil.scalar(op.y) == -1 and same(op.x, of)
    return any(same(one, of) and _is_minus_one(other) for one, other in ((op.x, op.y), (op.y, op.x)))


def _is_minus_one(var: mil.Var) -> bool:
    value = mil.floats(var)
    return value is not None and value.size > 0 and bool((value == -1).all())


def _pads(var: mil.Var, row: mil.Var) -> tuple[npt.NDArray[np.float64], mil.Var] | None:
    """Return constants whose sum is 0, and what both they and the row are divided by."""
    over, of_row = mil.producer(mil.base(var), "real_div"), mil.producer(mil.base(row), "real_div")
    if over is None or of_row is None or not same(over.y, of_row.y):
        return None
    pads = mil.floats(over.x)
    return (pads, over.y) if pads is not None and abs(float(pads.sum())) <= UNIFORM * float(np.abs(pads).sum()) else None


def _kept(normal: LayerNormed, row: Doubled, value: mil.Var, half: int, width: int) -> LoweredNorm | None:
    """Return the norm that a kept half of a layer norm is, with the gamma behind it."""
    x, shape = row.halves[half], list(mil.shape(normal.value))
    shape[row.axis] = width
    epsilon, stretch, form = normal.epsilon, 1.0, normal.form
    if row.pads is not None:
        scaled = mil.producer(mil.base(x), "real_div")
        if scaled is None or half != 0:
            return None
        x, epsilon, form = scaled.x, float(np.sum(row.pads**2)) / (2 * width), "layer_norm_prescaled"
        stretch = math.sqrt((2 * width + row.pads.size) / (2 * width))
    gamma: npt.NDArray[np.float64] | None = None
    if normal.gamma is not None:
        at = normal.axes.index(row.axis)
        gamma = np.take(normal.gamma, range(half * width, half * width + width), axis=at) * stretch
        gamma = None if _is_uniform(gamma) else gamma
    elif stretch != 1.0:
        return None
    norm = LoweredNorm(
        op=value.op,
        value=value,
        x=x,
        axes=tuple(mil.signed_axis(axis, len(shape)) for axis in normal.axes),
        gamma=gamma,
        epsilon=epsilon,
        form=form,
        root=normal.root,
        permutation=row.permutation,
    )
    return norm if gamma is not None else _scaled(norm, tuple(shape), normal.axes)


def _scaled(norm: LoweredNorm, shape: tuple[int | str, ...], axes: tuple[int, ...]) -> LoweredNorm:
    """Take in the constant that multiplies a norm, if one does and it varies along the normalised axes alone."""
    value = norm.value
    while mil.is_interior(value) and (cast := value.child_ops[0]).op_type == "cast" and mil.is_float(cast.outputs[0]):
        value = cast.outputs[0]
    if not mil.is_interior(value) or (op := value.child_ops[0]).op_type != "mul":
        return norm
    constant = mil.floats(op.y if op.x is value else op.x)
    if constant is None or constant.size == 1 or constant.ndim > len(shape) or mil.shape(op.outputs[0]) != shape:
        return norm
    spread = constant.reshape((1,) * (len(shape) - constant.ndim) + constant.shape)
    if any(size != 1 for axis, size in enumerate(spread.shape) if axis not in axes):
        return norm
    return replace(norm, op=op, value=op.outputs[0], gamma=_along(spread, shape, axes))


def _along(
    values: npt.NDArray[np.float64], shape: tuple[int | str, ...], axes: tuple[int, ...]
) -> npt.NDArray[np.float64]:
    """Return constants of x's rank, or fewer axes, in the shape of x over ``axes``."""
    spread = values.reshape((1,) * (len(shape) - values.ndim) + values.shape)
    sizes = [int(size) if axis in axes else 1 for axis, size in enumerate(shape)]
    return np.broadcast_to(spread, sizes).reshape([int(shape[axis]) for axis in axes])


def _is_uniform(gamma: npt.NDArray[np.float64]) -> bool:
    return bool(np.all(np.abs(gamma - 1.0) <= UNIFORM))
