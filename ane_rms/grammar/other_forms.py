r"""Recognise three lowered forms that are not layer norms.

``l2_norm``: :math:`c \cdot x / \sqrt{\sum x^2 + e}` by MIL's op, which is an RMSNorm with gamma :math:`c / \sqrt d` and
epsilon :math:`e / d`. The op normalises the last three axes; all but the last are of length 1.

``reduce_l2_norm``: :math:`c \cdot x / \lVert [x, p] \rVert`, which is an RMSNorm with gamma :math:`c / \sqrt d` and
epsilon :math:`\sum p^2 / d`. The elements p are constants, or x's own first elements clamped to constants.

``max_abs``: :math:`x / (m \sqrt{\operatorname{mean}((x/m)^2) + \tfrac am \tfrac bm})`, which is an RMSNorm with epsilon
``ab`` whatever positive number m a row has.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ane_rms import mil
from ane_rms.grammar.forms import LoweredNorm, Quadratic
from ane_rms.grammar.product import Node, Product, product
from ane_rms.grammar.quadratic import reduction
from ane_rms.grammar.values import same

if TYPE_CHECKING:
    import numpy.typing as npt

REGROUPED = ("reshape", "expand_dims", "squeeze")
UNIT = 2.0**-9
"""A gamma nearer to 1 than this counts as none, because sqrt(d) and its product are rounded in float16."""


def other_form(op: mil.Op) -> LoweredNorm | None:
    """Return the RMSNorm in one of these forms whose last multiplication or division is ``op``."""
    if op.op_type == "l2_norm":
        return _bare_l2_norm(op)
    if op.op_type not in ("mul", "real_div"):
        return None
    flat = product(op)
    return _l2_norm(op, flat) or _reduce_l2_norm(op, flat) or _max_abs(op, flat)


def _bare_l2_norm(op: mil.Op) -> LoweredNorm | None:
    """Return the RMSNorm that MIL's op is by itself, where its result has x's axes again."""
    value, x = op.outputs[0], _ungrouped(op.x)
    while mil.shape(value) != mil.shape(x):
        if not mil.is_interior(value) or value.child_ops[0].op_type not in (*REGROUPED, "cast"):
            return None
        value = value.child_ops[0].outputs[0]
    return _l2_norm(value.op, Product([Node(value, 1, -1, None, None)]))


def _l2_norm(op: mil.Op, flat: Product) -> LoweredNorm | None:
    if len(flat.factors) != 1 or flat.factors[0][1] != 1:
        return None
    value = flat.factors[0][0]
    normal = mil.producer(_ungrouped(value), "l2_norm")
    if normal is None:
        return None
    x, width, epsilon = _ungrouped(normal.x), mil.shape(normal.x)[-1], mil.scalar(normal.epsilon)
    ones = mil.shape(normal.x)[-3:-1]
    if x.rank == 0 or not isinstance(width, int) or ones != (1, 1) or epsilon is None:
        return None
    if mil.shape(x)[-1] != width or mil.shape(value) != mil.shape(x) or mil.shape(op.outputs[0]) != mil.shape(x):
        return None
    made = _gamma(flat, 1 / math.sqrt(width), mil.shape(x), (x.rank - 1,))
    if made is None:
        return None
    return LoweredNorm(
        op=op,
        value=op.outputs[0],
        x=x,
        axes=(-1,),
        gamma=made[0],
        epsilon=epsilon / width,
        form="l2_norm",
        roots=(normal,),
        interior=(*_between(normal, value), *flat.ops),
    )


def _reduce_l2_norm(op: mil.Op, flat: Product) -> LoweredNorm | None:
    divisors = [mil.producer(mil.base(var), "reduce_l2_norm") for var, power in flat.factors if power == -1]
    values = [var for var, power in flat.factors if power == 1]
    if len(flat.factors) != 2 or len(values) != 1 or len(divisors) != 1 or divisors[0] is None:
        return None
    x, norm = values[0], divisors[0]
    row = mil.producer(mil.base(norm.x), "concat")
    if row is None or len(row.values) != 2 or not same(row.values[0], x) or not norm.keep_dims.val:
        return None
    axes = [] if norm.axes is None else mil.positive_axes([int(axis) for axis in np.atleast_1d(norm.axes.val)], x.rank)
    elements = _elements(row.values[1])
    if elements is None or list(axes) != [int(row.axis.val) % x.rank]:
        return None
    (axis,) = axes
    width, count = mil.shape(x)[axis], mil.shape(row.values[1])[axis]
    if not isinstance(width, int) or not isinstance(count, int) or elements.shape[axis] != count:
        return None
    along = np.moveaxis(elements, axis, -1).reshape(-1, count)
    made = _gamma(flat, 1 / math.sqrt(width), mil.shape(x), (axis,))
    if made is None or not np.array_equal(along, np.broadcast_to(along[:1], along.shape)):
        return None
    return LoweredNorm(
        op=op,
        value=op.outputs[0],
        x=x,
        axes=(mil.signed_axis(axis, x.rank),),
        gamma=made[0],
        epsilon=float(np.sum(along[0] ** 2)) / width,
        form="reduce_l2_norm",
        roots=(norm,),
        interior=tuple(flat.ops),
    )


def _elements(var: mil.Var) -> npt.NDArray[np.float64] | None:
    """Return a constant, or the constant that a value is clamped to from both sides."""
    constant = mil.floats(var)
    if constant is not None:
        return constant
    above = mil.producer(mil.base(var), "maximum")
    below = None if above is None else mil.producer(mil.base(above.x), "minimum")
    if above is None or below is None:
        return None
    high, low = mil.floats(below.y), mil.floats(above.y)
    return low if high is not None and low is not None and np.array_equal(high, low) else None


def _between(first: mil.Op, var: mil.Var) -> list[mil.Op]:
    """Return the ops from ``first``, not included, to ``var``, each of which has the one operand x."""
    found = []
    while var.op is not first:
        found.append(var.op)
        var = var.op.x
    return found


def _ungrouped(var: mil.Var) -> mil.Var:
    """Return ``var`` before ops that only regroup its elements into other axes, or widen their type."""
    while (op := mil.producer(mil.widened(var), *REGROUPED)) is not None:
        var = op.x
    return mil.widened(var)


def _max_abs(op: mil.Op, flat: Product) -> LoweredNorm | None:
    if len(flat.factors) != 3:
        return None
    roots = [
        (at, taken)
        for at, (var, power) in enumerate(flat.factors)
        if power == -1 and (taken := mil.producer(mil.base(var), "sqrt")) is not None
    ]
    for at, taken in roots:
        rest = flat.factors[:at] + flat.factors[at + 1 :]
        values = [var for var, power in rest if power == 1]
        scales = [var for var, power in rest if power == -1]
        if len(values) != 1 or len(scales) != 1:
            continue
        found = _scaled_mean(taken, values[0], scales[0])
        if found is None:
            continue
        mean, epsilon, keeps = found
        x = mil.widened(values[0])
        made = _gamma(flat, 1.0, mil.shape(x), mean.axes)
        if made is not None and keeps:
            axes = tuple(mil.signed_axis(axis, x.rank) for axis in mean.axes)
            return LoweredNorm(
                op=op,
                value=op.outputs[0],
                x=x,
                axes=axes,
                gamma=made[0],
                epsilon=epsilon,
                form="max_abs",
                roots=(taken,),
                interior=flat.ops,
            )
    return None


def _scaled_mean(taken: mil.Op, x: mil.Var, scale: mil.Var) -> tuple[Quadratic, float, bool] | None:
    """Return (mean of (x / scale)^2, epsilon, whether axes are kept) for a root of the mean plus epsilon.

    Epsilon appears in it as ``a / scale * b / scale``.
    """
    under, epsilon = mil.base(taken.x), 0.0
    total = mil.producer(under, "add")
    if total is not None:
        for one, other in ((total.x, total.y), (total.y, total.x)):
            product_of = _product_over(other, scale)
            if product_of is not None:
                under, epsilon = mil.base(one), product_of
                break
        else:
            return None
    mean = mil.producer(under, "reduce_mean")
    found = None if mean is None else reduction(mean)
    if mean is None or not isinstance(found, Quadratic):
        return None
    unit = mil.producer(mil.base(found.x), "real_div")
    if unit is None or not same(unit.x, x) or not same(unit.y, scale):
        return None
    return found, epsilon, bool(mean.keep_dims.val)


def _product_over(var: mil.Var, scale: mil.Var) -> float | None:
    """Return ``a * b`` if ``var`` is ``a / scale * (b / scale)``."""
    op = mil.producer(mil.base(var), "mul")
    if op is None:
        return None
    parts = [mil.producer(mil.base(one), "real_div") for one in (op.x, op.y)]
    total = 1.0
    for part in parts:
        number = None if part is None or not same(part.y, scale) else mil.scalar(part.x)
        if number is None:
            return None
        total *= number
    return total


def _gamma(
    flat: Product, scale: float, shape: tuple[int | str, ...], axes: tuple[int, ...]
) -> tuple[npt.NDArray[np.float64] | None] | None:
    """Return (gamma,) of a product's constants, (None,) if it is 1, or None if they are not a gamma."""
    total: npt.NDArray[np.float64] = np.full((1,) * len(shape), scale)
    for constant, power in flat.constants:
        total = total * constant if power == 1 else total / constant
    if total.ndim != len(shape) or any(n != 1 for axis, n in enumerate(total.shape) if axis not in axes):
        return None
    if np.all(np.abs(total - 1.0) <= UNIT):
        return (None,)
    sizes = [shape[axis] for axis in axes]
    if not all(isinstance(size, int) for size in sizes):
        return None
    whole = [int(shape[axis]) if axis in axes else 1 for axis in range(len(shape))]
    return (np.broadcast_to(total, whole).reshape([int(size) for size in sizes]),)
