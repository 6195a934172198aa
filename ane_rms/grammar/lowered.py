r"""Recognise RMSNorms that are already lowered, by hand or by an earlier conversion.

.. math::  \operatorname{LayerNorm}([x, -x, p])_{first\ d}
           = \sqrt{\tfrac{2d + n}{2d}} \cdot \frac{x}{\sqrt{\operatorname{mean}(x^2) + \tfrac{1}{2d} \sum p^2 + e}}

with ``n`` elements ``p`` whose sum is 0 (usually none; they represent epsilon if the layer norm's ``e`` is 0). The
negative may be the first or the second half, along any of the normalised axes or an axis of its own, and ops that only
regroup elements (:mod:`ane_rms.grammar.layout`) may be anywhere between. The layer norm is one op or its primitives.
Either half is kept, by a slice, a split or a gather. Gamma is inside or after it.

``l2_norm``, ``reduce_l2_norm`` and ``max_abs`` are in :mod:`ane_rms.grammar.other_forms`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ane_rms import mil
from ane_rms.grammar.deviation import normalised
from ane_rms.grammar.doubled import doubled
from ane_rms.grammar.forms import LoweredNorm, Refusal, Root
from ane_rms.grammar.gains import along, is_uniform, multiplied, varies_beside
from ane_rms.grammar.halves import kept_halves
from ane_rms.grammar.layout import SIGN, half_of, source_axes
from ane_rms.grammar.other_forms import other_form
from ane_rms.grammar.product import product
from ane_rms.grammar.root import root
from ane_rms.grammar.rows import of_product, with_beta, without_half
from ane_rms.grammar.spread import centred_on, narrowed
from ane_rms.grammar.values import same

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from ane_rms.grammar.doubled import Doubled
    from ane_rms.grammar.halves import Half

MOST_OPS = 32
"""Largest number of ops between a row and the scale that a lowering divides it by; lowerings here have 12."""


@dataclass(frozen=True, slots=True)
class LayerNormed:
    """One layer norm, ``value``, of ``source``, in one op or in primitives."""

    value: mil.Var
    source: mil.Var
    axes: tuple[int, ...]
    epsilon: float
    gamma: npt.NDArray[np.float64] | None
    form: str
    root: mil.Op | None = None
    has_beta: bool = False


Recognise = Callable[[mil.Op], LoweredNorm | Refusal | None]


def lowered_norms(ops: Sequence[mil.Op], look: Callable[[Recognise, mil.Op], LoweredNorm | None]) -> list[LoweredNorm]:
    """Return the lowered RMSNorms of one block, in the order of its ops.

    Parameters
    ----------
    ops: the block's ops.
    look: calls a function with an op, and keeps its failure.
    """
    found: dict[int, LoweredNorm] = {}
    present = {op.op_type for op in ops}
    other = bool(present & {"l2_norm", "reduce_l2_norm", "exp2"})
    ends = {"layer_norm", "instance_norm"} | ({"mul", "real_div"} if "sub" in present else set())
    for op in ops if other or present & ends else ():
        if op.op_type in ends:
            one = look(_in_layer_norm, op)
            if one is not None:
                found[id(one.op)] = one
        elsewhere = look(other_form, op) if other else None
        if elsewhere is not None:
            for part in elsewhere.interior:
                found.pop(id(part), None)
            found[id(elsewhere.op)] = elsewhere
    return [found[id(op)] for op in ops if id(op) in found]


def _in_layer_norm(op: mil.Op) -> LoweredNorm | Refusal | None:
    normal = _primitives(op) if op.op_type in ("mul", "real_div") else _layer_norm(op)
    if normal is None:
        return None
    row = doubled(normal.source)
    if row is None or normal.has_beta:
        return of_product(normal) if row is None else with_beta(normal, row)
    if row.pads is not None and (normal.epsilon or row.scale is None or len(normal.axes) != 1):
        return None
    scaled = _scaled_row(normal) if row.pads is None else normal
    halves = (_kept(scaled, row, half) for half in kept_halves(scaled.value, row.laid[0]))
    norms = [norm for norm in halves if norm is not None]
    if norms:
        return replace(norms[0], also=tuple(norms[1:]))
    return without_half(normal, row)


def _layer_norm(op: mil.Op) -> LayerNormed | None:
    """Return the layer norm that a ``layer_norm`` or ``instance_norm`` op computes, if its gamma is constant."""
    rank = op.x.rank
    gamma, beta = (None if var is None else mil.floats(var) for var in (op.gamma, op.beta))
    if op.gamma is not None and gamma is None:
        return None
    shifted = op.beta is not None and (beta is None or bool(beta.any()))
    epsilon = mil.scalar(op.epsilon)
    if op.op_type == "instance_norm":
        if epsilon is None or (gamma is not None and not is_uniform(gamma)):
            return None
        return LayerNormed(op.outputs[0], op.x, tuple(range(2, rank)), epsilon, None, op.op_type, None, shifted)
    given = range(rank) if op.axes is None else np.atleast_1d(op.axes.val)
    axes = mil.positive_axes([int(axis) for axis in given], rank)
    form = "layer_norm" if gamma is None else "layer_norm_affine"
    return None if epsilon is None else LayerNormed(op.outputs[0], op.x, axes, epsilon, gamma, form, None, shifted)


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
        if centred_on(centred.outputs[0]) != (centred.x, found.quadratic.axes):
            continue
        sizes = [mil.shape(centred.x)[axis] for axis in found.quadratic.axes]
        if not all(isinstance(size, int) for size in sizes):
            continue
        scale, epsilon, _ = normalised(found, math.prod(int(size) for size in sizes))
        total: npt.NDArray[np.float64] = np.full((1,) * centred.x.rank, scale)
        for constant, sign in flat.constants:
            one = narrowed(constant, centred.x.rank)
            total = total * one if sign == 1 else total / one
        if total.ndim > centred.x.rank or varies_beside(total, found.quadratic.axes):
            continue
        gamma = None if is_uniform(total) else along(total, mil.shape(centred.x), found.quadratic.axes)
        form = "layer_norm_primitives"
        return LayerNormed(op.outputs[0], centred.x, found.quadratic.axes, epsilon, gamma, form, found.op)
    return None


def _kept(normal: LayerNormed, row: Doubled, half: Half) -> LoweredNorm | None:
    """Return the norm that a kept half of a layer norm is, with the gamma after it."""
    if half.source >= len(row.laid[half.which]):
        return None
    x, layout = row.laid[half.which][half.source]
    order, sign = half.order, next(at for at, axis in enumerate(layout) if any(part[0] == SIGN for part in axis))
    normalised_axes = source_axes(layout, normal.axes, x)
    if normalised_axes is None or sign not in normal.axes:
        return None
    axes = tuple(sorted(order.index(axis) for axis in normalised_axes))
    gamma, stretch, epsilon, form = None, 1.0, normal.epsilon, normal.form
    width = math.prod(int(size) for size in (mil.shape(x)[axis] for axis in normalised_axes) if isinstance(size, int))
    if row.pads is not None:
        scaled = mil.producer(mil.base(x), "real_div")
        if scaled is None or half.which != 0 or normal.gamma is None:
            return None
        x, epsilon, form = scaled.x, float(np.sum(row.pads**2)) / (2 * width), "layer_norm_prescaled"
        stretch = math.sqrt((2 * width + row.pads.size) / (2 * width))
    if normal.gamma is not None:
        parts = [part for axis in normal.axes for part in layout[axis]]
        doubles = normal.gamma if row.pads is None else normal.gamma.reshape(-1)[: 2 * width]
        flat = half_of(doubles, parts, half.which, order) * stretch
        gamma = None if is_uniform(flat) else flat.reshape([int(mil.shape(half.value)[axis]) for axis in axes])
    norm = LoweredNorm(
        op=half.value.op,
        value=half.value,
        x=x,
        axes=tuple(mil.signed_axis(axis, x.rank) for axis in axes),
        gamma=gamma,
        epsilon=epsilon,
        form=form,
        roots=(normal.root,) if normal.root is not None else _roots_of_scale(row.scale, x),
        permutation=None if order == tuple(range(x.rank)) else order,
    )
    norm = norm if gamma is not None else _scaled(norm, mil.shape(half.value), axes)
    return _negated(norm) if half.which == row.negative else norm


def _negated(norm: LoweredNorm) -> LoweredNorm:
    """Return the norm with gamma negated, for a half that is the negative of x."""
    sizes = [int(mil.shape(norm.value)[axis]) for axis in norm.axes]
    return replace(norm, gamma=-(np.ones(sizes) if norm.gamma is None else norm.gamma))


def _roots_of_scale(scale: mil.Var | None, x: mil.Var) -> tuple[mil.Op, ...]:
    """Return the roots that a row's scale depends on, walking back to x."""
    found: list[mil.Op] = []
    pending, seen = [scale] if scale is not None else [], {id(mil.base(x))}
    while pending and len(seen) < MOST_OPS:
        var = mil.base(pending.pop())
        if id(var) in seen or var.op is None or var.op.op_type == "const":
            continue
        seen.add(id(var))
        found += [var.op] if var.op.op_type in ("sqrt", "rsqrt") else []
        pending += var.op.get_flattened_inputs()
    return tuple(found)


def _scaled_row(normal: LayerNormed) -> LayerNormed:
    """Include the constant that multiplies the whole doubled row, before a half of it is taken."""
    shape = mil.shape(normal.value)
    found = multiplied(normal.value, shape, normal.axes)
    if found is None or any(not isinstance(shape[axis], int) for axis in normal.axes):
        return normal
    op, constant = found
    gamma = along(constant, shape, normal.axes) * (1.0 if normal.gamma is None else normal.gamma)
    return replace(normal, value=op.outputs[0], gamma=gamma)


def _scaled(norm: LoweredNorm, shape: tuple[int | str, ...], axes: tuple[int, ...]) -> LoweredNorm:
    """Include the constant that multiplies a norm, if there is one and it varies along the normalised axes."""
    found = multiplied(norm.value, shape, axes)
    if found is None:
        return norm
    op, constant = found
    stored = next(one for one in map(mil.floats, (op.x, op.y)) if one is not None)
    return norm if stored.size == 1 else replace(norm, op=op, value=op.outputs[0], gamma=along(constant, shape, axes))
