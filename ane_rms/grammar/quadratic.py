"""The first production: ``a * sum(x^2) + e``, however a square, a mean and their scale are written.

A square is ``square``, ``pow(x, 2)``, ``x * x`` or that of ``abs(x)``; a sum is ``reduce_sum``, ``reduce_sum_square``,
a ``reduce_mean`` (a = 1/d), each row multiplied by itself as a matrix, or a norm squared. Numbers are added,
subtracted, multiplied, divided by, or bound it from below:

``(a * sum + e) * n = (a * n) * sum + e * n``, and likewise for the floor.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from ane_rms import mil
from ane_rms.grammar.forms import NO_FIXED_SIZE, Quadratic, Refusal, Root, constant_operand, floored, same


def squared(var: mil.Var) -> mil.Var | Refusal | None:
    """Return x where ``var`` is ``x^2``."""
    op = mil.producer(mil.base(var), "square", "mul", "pow")
    if op is None:
        return None
    if op.op_type == "square":
        found = op.x
    elif op.op_type == "mul":
        if not same(op.x, op.y):
            return Refusal("the mean is over a product of two different values, not over a square")
        found = op.x
    else:
        exponent = mil.scalar(op.y)
        if exponent != 2:
            power = "a power that is not constant" if exponent is None else f"x**{exponent:g}"
            return Refusal(f"the mean is over {power}, not over a square")
        found = op.x
    magnitude = mil.producer(mil.base(found), "abs")
    return found if magnitude is None else magnitude.x


def reduction(op: mil.Op) -> Quadratic | Refusal | None:
    """Return the quadratic of a reduction op."""
    if op.op_type in ("reduce_sum_square", "reduce_l2_norm"):
        x = op.x
    else:
        x = squared(op.x)
        if isinstance(x, Refusal):
            return x
        if x is None:
            inner = mil.base(op.x).op
            what = "an input of the program" if inner is None else f"`{inner.op_type}`"
            return Refusal(f"the {op.op_type[7:]} is over {what}, not over a square")
    given = range(op.x.rank) if op.axes is None else np.atleast_1d(op.axes.val)
    axes = mil.positive_axes([int(axis) for axis in given], op.x.rank)
    spelling, scale = op.op_type.removeprefix("reduce_").removesuffix("_square"), 1.0
    if op.op_type == "reduce_mean":
        counts = [mil.shape(op.x)[axis] for axis in axes]
        if not all(isinstance(n, int) for n in counts):
            return Refusal(NO_FIXED_SIZE)
        scale = 1.0 / math.prod(int(n) for n in counts)
    return Quadratic(x=x, axes=axes, scale=scale, kept=bool(op.keep_dims.val), spelling=spelling)


def quadratic(var: mil.Var) -> Quadratic | Refusal | None:
    """Return the form ``a * sum(x^2) + e`` that ``var`` has."""
    op = mil.base(var).op
    if op is None:
        return None
    if op.op_type in ("reduce_mean", "reduce_sum", "reduce_sum_square"):
        return reduction(op)
    if op.op_type in ("expand_dims", "reshape"):
        found: Quadratic | Refusal | None = kept(quadratic(op.x), op)
        return found or _row_products(var)
    if op.op_type in ("squeeze", "matmul"):
        return _row_products(var)
    if op.op_type in ("square", "pow"):
        return _squared_root(op)
    if op.op_type in ("add", "maximum", "mul", "real_div", "sub", "clip"):
        return _arithmetic(op)
    return None


def kept(found: Any, op: mil.Op) -> Any:
    """Let an op that puts back the reduced axes stand for ``keep_dims=True``, in a quadratic or a root."""
    inner = found.quadratic if isinstance(found, Root) else found
    if not isinstance(inner, Quadratic):
        return found
    expected = tuple(1 if axis in inner.axes else n for axis, n in enumerate(mil.shape(inner.x)))
    if mil.shape(op.outputs[0]) != expected:
        return found if op.op_type == "expand_dims" else None
    kept = replace(inner, kept=True)
    return replace(found, quadratic=kept) if isinstance(found, Root) else kept


def _row_products(var: mil.Var) -> Quadratic | None:
    """Return the sum of squares where each row of x is multiplied by itself as a matrix, as ``einsum`` is written.

    x's rows stand in ``(..., 1, d)`` and ``(..., d, 1)``, the products in x's shape with or without a last axis of 1.
    Only reshapes lie between, none of which changes the order of elements.
    """
    op = _unfolded(var).op
    if op is None or op.op_type != "matmul":
        return None
    x, left, right = _unfolded(op.x), list(mil.shape(op.x)), list(mil.shape(op.y))
    if x.rank == 0 or x is not _unfolded(op.y) or left[:-2] != right[:-2]:
        return None
    row = left[-1:-3:-1] if op.transpose_x.val else left[-2:]
    column = right[-1:-3:-1] if op.transpose_y.val else right[-2:]
    *lead, width = mil.shape(x)
    if row != [1, width] or column != [width, 1] or not all(isinstance(n, int) for n in (*lead, *left, *right)):
        return None
    kept = mil.shape(var) == (*lead, 1)
    if not kept and mil.shape(var) != tuple(lead):
        return None
    return Quadratic(x=x, axes=(x.rank - 1,), scale=1.0, kept=kept, spelling="matmul")


def _unfolded(var: mil.Var) -> mil.Var:
    """Return what ``var`` was before ops that only change how its elements are grouped into axes."""
    while (op := mil.producer(mil.base(var), "reshape", "expand_dims", "squeeze")) is not None:
        var = op.x
    return mil.base(var)


def _squared_root(op: mil.Op) -> Quadratic | None:
    """Return the quadratic of ``norm(x)^2``."""
    from ane_rms.grammar.root import root  # a root is of a quadratic, and this quadratic of a root

    inner = root(op.x) if op.op_type == "square" or mil.scalar(op.y) == 2 else None
    if not isinstance(inner, Root) or inner.power != 1 or inner.outside or inner.floor or inner.quadratic.floor:
        return None
    q, factor = inner.quadratic, inner.scale**2
    return replace(q, scale=q.scale * factor, epsilon=q.epsilon * factor)


def _arithmetic(op: mil.Op) -> Quadratic | Refusal | None:
    """Return the quadratic of one plus, times, divided by or floored by a number."""
    if op.op_type == "clip":
        operand = floored(op)
    elif op.op_type in ("real_div", "sub"):
        number = mil.scalar(op.y)
        operand = None if number is None else (op.x, number)
    else:
        operand = constant_operand(op)
    if operand is None:
        return None if op.op_type == "clip" else _not_a_number(op)
    inner, number = operand
    q = quadratic(inner)
    if not isinstance(q, Quadratic):
        return q
    if op.op_type in ("add", "sub"):
        epsilon = q.epsilon + (number if op.op_type == "add" else -number)
        if not (math.isfinite(epsilon) and epsilon >= 0):
            return Refusal(f"epsilon is {epsilon:g}; it must be a finite number, 0 or more")
        return replace(q, epsilon=epsilon)
    if op.op_type in ("maximum", "clip"):
        return replace(q, floor=max(q.floor, number))
    factor = number if op.op_type == "mul" else (1 / number if number else math.nan)
    if not (math.isfinite(factor) and factor > 0):
        return Refusal(f"the mean square is scaled by {factor:g}; it must be a positive number")
    return replace(q, scale=q.scale * factor, epsilon=q.epsilon * factor, floor=q.floor * factor)


def _not_a_number(op: mil.Op) -> Refusal | None:
    """Say what is wrong with a mean square plus something that is not one number; None if there is no mean square."""
    for value, other in ((op.x, op.y), (op.y, op.x)):
        mean = mil.producer(mil.base(value), "reduce_mean", "reduce_sum", "reduce_sum_square")
        if mean is None or not isinstance(reduction(mean), Quadratic):
            continue
        known = mil.const_value(other)
        if op.op_type == "sub":
            return Refusal("something is subtracted from the mean square, as for a variance")
        what = "is computed at run time" if known is None else f"has shape {list(known.shape)}"
        return Refusal(f"what is added to the mean square (epsilon) {what}; it must be one constant number")
    return None
