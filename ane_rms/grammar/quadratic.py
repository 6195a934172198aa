"""The first production: ``a * sum(x^2) + e``, in any spelling of a mean and its scale.

A sum is ``reduce_sum``, ``reduce_sum_square``, a ``reduce_mean`` (a = 1/d), each row multiplied by itself as a matrix,
or a squared norm. Numbers may be added, subtracted, multiplied or divided by, or may bound it from below:

``(a * sum + e) * n = (a * n) * sum + e * n``, and likewise for the floor.

Ops that only regroup elements into other axes are looked through. Whether the reduced axes are in the same places as in
x is checked once, for the whole root.
"""

from __future__ import annotations

import math
from dataclasses import replace

from ane_rms import mil
from ane_rms.grammar.forms import (
    NO_FIXED_SIZE,
    Quadratic,
    Refusal,
    called,
    described,
    floored,
    reduced_axes,
    without_numbers,
)
from ane_rms.grammar.forms import number_operand as operand_of
from ane_rms.grammar.spread import is_along
from ane_rms.grammar.squares import REGROUPING, SUMS, SUMS_OF_SQUARES, Squares, regrouped, squared
from ane_rms.grammar.turned import turned
from ane_rms.grammar.values import same

ARITHMETIC = ("add", "sub", "mul", "real_div", "maximum", "minimum", "clip")


def refuse(op: mil.Op, reason: str) -> Refusal:
    """Return a refusal of this production at ``op``."""
    return Refusal(reason, op, "quadratic")


def reduction(op: mil.Op) -> Quadratic | Refusal:
    """Return the quadratic of a reduction op."""
    word = "mean" if op.op_type == "reduce_mean" else "sum"
    if op.op_type in SUMS_OF_SQUARES:
        squares: Squares | Refusal | None = Squares(op.x)
    else:
        squares = squared(op.x, word)
    if isinstance(squares, Refusal):
        return squares
    if squares is None:
        inner = mil.base(op.x).op
        summed = "an input of the program" if inner is None else f"`{inner.op_type}`"
        if inner is not None and inner.op_type == "cast":
            summed = f"a cast of {mil.dtype(inner.x)}"
        return refuse(op, f"the {word} is over {summed}, not over a square")
    axes = reduced_axes(op)
    counts = [mil.shape(op.x)[axis] for axis in axes]
    if 0 in counts:
        return refuse(op, f"the {word} is over an axis without elements")
    scale = squares.scale
    if not (math.isfinite(scale) and scale > 0):
        return refuse(op, f"the squares are scaled by {scale:g}; it must be a positive number")
    if op.op_type == "reduce_mean":
        if not all(isinstance(n, int) for n in counts):
            return refuse(op, NO_FIXED_SIZE)
        scale /= math.prod(int(n) for n in counts)
    spelling = op.op_type.removeprefix("reduce_").removesuffix("_square")
    return Quadratic(x=squares.x, axes=axes, scale=scale, spelling=spelling)


def quadratic(var: mil.Var) -> Quadratic | Refusal | None:
    """Return the form ``a * sum(x^2) + e`` that ``var`` has."""
    op = mil.float_producer(var)
    if op is None:
        return None
    if op.op_type in (*SUMS, "reduce_sum_square"):
        return reduction(op)
    if op.op_type in REGROUPING or op.op_type == "matmul":
        return _row_products(var) or (None if op.op_type == "matmul" else quadratic(op.x))
    if op.op_type == "tile":
        return _repeated(op)
    if op.op_type == "transpose":
        inner = quadratic(op.x)
        return turned(inner, op) if isinstance(inner, Quadratic) else inner
    if op.op_type in ("square", "pow") or (op.op_type == "mul" and same(op.x, op.y)):
        return _squared_root(op)
    return _arithmetic(op) if op.op_type in ARITHMETIC else None


def _row_products(var: mil.Var) -> Quadratic | None:
    """Return the sum of squares where each row of x is multiplied by itself as a matrix, as ``einsum`` is written.

    x's rows have the shapes ``(..., 1, d)`` and ``(..., d, 1)``, the products x's shape without the last axis, or with
    axes of 1 in its place. Only reshapes are between them, none of which changes the order of elements.
    """
    op = regrouped(var).op
    if op is None or op.op_type != "matmul":
        return None
    x, left, right = regrouped(op.x), list(mil.shape(op.x)), list(mil.shape(op.y))
    if x.rank == 0 or not same(x, regrouped(op.y)) or left[:-2] != right[:-2]:
        return None
    row = left[-1:-3:-1] if op.transpose_x.val else left[-2:]
    column = right[-1:-3:-1] if op.transpose_y.val else right[-2:]
    *lead, width = mil.shape(x)
    if row != [1, width] or column != [width, 1] or not all(isinstance(n, int) for n in (*lead, *left, *right)):
        return None
    made = mil.shape(var)
    if made[: len(lead)] != tuple(lead) or any(n != 1 for n in made[len(lead) :]):
        return None
    return Quadratic(x=x, axes=(x.rank - 1,), scale=1.0, spelling="matmul")


def _repeated(op: mil.Op) -> Quadratic | Refusal | None:
    """Look through a ``tile`` that only repeats along the reduced axes, as a broadcast of the mean does."""
    q = quadratic(op.x)
    if not isinstance(q, Quadratic) or is_along(q, op.outputs[0]):
        return q
    return refuse(op, f"`tile` repeats the {called(q)} along an axis that is not reduced")


def _squared_root(op: mil.Op) -> Quadratic | Refusal | None:
    """Return the quadratic of ``(n * sqrt(quadratic))^2`` or ``(n * norm(x))^2``."""
    if op.op_type == "pow" and mil.scalar(op.y) != 2:
        return None
    value, factor = without_numbers(op.x)
    taken = mil.float_producer(value, "sqrt", "pow", "reduce_l2_norm")
    if taken is None or (taken.op_type == "pow" and mil.scalar(taken.y) != 0.5):
        return None
    inner = reduction(taken) if taken.op_type == "reduce_l2_norm" else quadratic(taken.x)
    if not isinstance(inner, Quadratic):
        return inner
    squared_factor = factor * factor
    return replace(
        inner,
        scale=inner.scale * squared_factor,
        epsilon=inner.epsilon * squared_factor,
        floor=inner.floor * squared_factor,
        roots=(*inner.roots, taken),
    )


def _arithmetic(op: mil.Op) -> Quadratic | Refusal | None:
    """Return the quadratic that results from adding, multiplying, dividing by or bounding by a number."""
    operand = floored(op) if op.op_type == "clip" else operand_of(op)
    if operand is None:
        return _not_a_number(op)
    inner, number = operand
    q = quadratic(inner)
    if not isinstance(q, Quadratic):
        return q
    if mil.shape(inner) != mil.shape(op.outputs[0]) and not is_along(q, op.outputs[0]):
        return refuse(op, f"`{op.op_type}` gives the {called(q)} the shape {list(mil.shape(op.outputs[0]))}")
    if op.op_type == "minimum":
        return refuse(op, f"the {called(q)} is bounded from above by `minimum`")
    if op.op_type in ("add", "sub"):
        epsilon = q.epsilon + (number if op.op_type == "add" else -number)
        if not (math.isfinite(epsilon) and epsilon >= 0):
            return refuse(op, f"epsilon is {epsilon:g}; it must be a finite number, 0 or more")
        return replace(q, epsilon=epsilon, floor=max(q.floor + epsilon - q.epsilon, 0.0) if q.floor else 0.0)
    if op.op_type in ("maximum", "clip"):
        return replace(q, floor=max(q.floor, number))
    factor = number if op.op_type == "mul" else (1 / number if number else math.nan)
    if not (math.isfinite(factor) and factor > 0):
        return refuse(op, f"the {called(q)} is scaled by {factor:g}; it must be a positive number")
    return replace(q, scale=q.scale * factor, epsilon=q.epsilon * factor, floor=q.floor * factor)


VERBS = {
    "mul": "the {square} is multiplied by a value that is {what}; only a constant number keeps it one",
    "real_div": "the {square} is divided by a value that is {what}; only a constant number keeps it one",
    "add": "what is added to the {square} (epsilon) is {what}; it must be one constant number",
    "sub": "what is subtracted from the {square} is {what}, as for a variance; it must be one constant number",
    "maximum": "what bounds the {square} from below is {what}; it must be one constant number",
    "minimum": "the {square} is bounded from above by `minimum`",
}


def _not_a_number(op: mil.Op) -> Refusal | None:
    """Refuse a mean square that is combined with something other than one number; None without a mean square."""
    if op.op_type == "clip":
        inner = quadratic(op.x)
        if isinstance(inner, Quadratic):
            return refuse(op, f"the {called(inner)} is bounded from above by `clip`")
        return inner
    for value, other, is_first in ((op.x, op.y, True), (op.y, op.x, False)):
        found = quadratic(value)
        if isinstance(found, Refusal):
            return found
        if found is not None:
            if op.op_type in ("sub", "real_div") and not is_first:
                verb = "subtracted from" if op.op_type == "sub" else "divided into"
                return refuse(op, f"the {called(found)} is {verb} a value that is {described(other)}")
            return refuse(op, VERBS[op.op_type].format(what=described(other), square=called(found)))
    return None
