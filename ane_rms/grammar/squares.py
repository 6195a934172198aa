"""Recognise squares, and values computed from a mean or a sum of squares.

A square is ``square(x)``, ``pow(x, 2)``, ``x * x`` or a square of ``abs(x)`` or ``-x``, possibly times a number, as in
``x * (x / d)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ane_rms import mil
from ane_rms.grammar.forms import Refusal, common_value, times_number, without_numbers
from ane_rms.grammar.values import same

if TYPE_CHECKING:
    from collections.abc import Iterator

SUMS = ("reduce_mean", "reduce_sum")
OTHER_SUMS = ("avg_pool", "conv", "cumsum", "linear", "matmul")
"""Other ops that sum along an axis, with constant weights if any, which the grammar does not follow."""
SUMS_OF_SQUARES = ("reduce_sum_square", "reduce_l2_norm")
REGROUPING = ("expand_dims", "identity", "reshape", "squeeze")
"""Ops that keep the order of elements."""
COMBINING = ("abs", "add", "inverse", "maximum", "minimum", "mul", "real_div", "relu", "select", "sub", "clip")
AFFINE = ("leaky_relu", "linear_activation", "clamped_relu", "threshold")
MOVING = ("cast", "concat", "expand_dims", "identity", "reshape", "slice_by_index", "slice_by_size", "split", "squeeze")
PICKING = ("gather", "gather_along_axis", "gather_nd", "pad", "reverse", "stack", "tile", "transpose")
LOOKED_THROUGH = frozenset((*COMBINING, *AFFINE, *MOVING, *PICKING))
"""Ops whose result of a mean square still counts as one: those that combine, bound, move or broadcast it."""


@dataclass(frozen=True, slots=True)
class Squares:
    """``scale * x^2``."""

    x: mil.Var
    scale: float = 1.0


def squared(var: mil.Var, word: str) -> Squares | Refusal | None:
    """Return x and the factor if ``var`` is ``factor * x^2``.

    Parameters
    ----------
    var: the summed value.
    word: the word for the sum in a refusal, ``mean`` or ``sum``.
    """
    op = mil.float_producer(var, "square", "mul", "pow", "real_div")
    if op is None:
        return None
    if op.op_type == "square":
        return Squares(_without_sign(op.x))
    if op.op_type == "pow":
        exponent = mil.scalar(op.y)
        if exponent == 2:
            return Squares(_without_sign(op.x))
        power = "a power that is not constant" if exponent is None else f"x**{exponent:g}"
        return _refuse(op, f"the {word} is over {power}, not over a square")
    return _product_of_two(op, word)


def _product_of_two(op: mil.Op, word: str) -> Squares | Refusal:
    """Return the square that a multiplication or division is."""
    scaled = times_number(op)
    if scaled is not None:
        inner = squared(scaled[0], word)
        if inner is None:
            return _refuse(op, f"the {word} is over `{op.op_type}` with a number, not over a square")
        return Squares(inner.x, inner.scale * scaled[1]) if isinstance(inner, Squares) else inner
    if op.op_type == "mul":
        if same(op.x, op.y):
            return Squares(_without_sign(op.x))
        if (common := common_value(op.x, op.y)) is not None:
            return Squares(common[0], common[1] * common[2])
        if any(isinstance(squared(one, word), Squares) for one in (op.x, op.y)):
            return _refuse(op, f"the {word} is over squares times a value that is not one number")
        return _refuse(op, f"the {word} is over a product of two different values, not over a square")
    return _refuse(op, f"the {word} is over a quotient of two values, not over a square")


def _without_sign(x: mil.Var) -> mil.Var:
    """Return ``x`` without ``abs`` and ``0 - x``, which have the same square."""
    while (op := mil.float_producer(x, "abs", "sub")) is not None and (op.op_type == "abs" or mil.scalar(op.x) == 0):
        x = op.x if op.op_type == "abs" else op.y
    return x


def _refuse(op: mil.Op, reason: str) -> Refusal:
    return Refusal(reason, op, "quadratic")


def holds_mean_square(var: mil.Var) -> bool:
    """Return whether ``var`` is computed from a mean or sum of squares by ops whose result still counts as one.

    Integers count here, so that a root over them is reported; :func:`squared` takes float arithmetic only.
    """
    pending, visited = [(var, False)], set[tuple[int, bool]]()
    while pending:
        value, is_summed = pending.pop()
        op = mil.base(value).op
        if op is None or (id(op), is_summed) in visited:
            continue
        visited.add((id(op), is_summed))
        if op.op_type in SUMS or (op.op_type in OTHER_SUMS and len(list(operands(op))) == 1):
            pending.append((next(operands(op), op.x), True))
        elif op.op_type == "reduce_sum_square" or _is_square_of(op, is_summed=is_summed) or _adds_squares(op):
            return True
        elif op.op_type in LOOKED_THROUGH:
            pending.extend((one, is_summed) for one in operands(op))
    return False


def _is_square_of(op: mil.Op, *, is_summed: bool) -> bool:
    """Return whether ``op`` squares a value that is summed afterwards, or the root of a sum."""
    is_square = (
        op.op_type == "square"
        or (op.op_type == "pow" and mil.scalar(op.y) == 2)
        or (op.op_type == "mul" and same(without_numbers(op.x)[0], without_numbers(op.y)[0]))
    )
    if not is_square or is_summed:
        return is_square
    inner = mil.float_producer(without_numbers(op.x)[0], "reduce_l2_norm", "sqrt")
    return inner is not None and (inner.op_type == "reduce_l2_norm" or holds_mean_square(inner.x))


def _adds_squares(op: mil.Op) -> bool:
    """Return whether ``op`` adds squares up: two of them, or each row multiplied by itself as a matrix."""
    if op.op_type == "matmul":
        return mil.shape(op.outputs[0])[-2:] == (1, 1) and same(regrouped(op.x), regrouped(op.y))
    return op.op_type == "add" and all(
        (square := mil.base(one).op) is not None and _is_square_of(square, is_summed=True) for one in (op.x, op.y)
    )


def regrouped(var: mil.Var) -> mil.Var:
    """Return ``var`` before ops that only regroup its elements into other axes."""
    while (op := mil.float_producer(var, *REGROUPING)) is not None:
        var = op.x
    return mil.widened(var)


def operands(op: mil.Op) -> Iterator[mil.Var]:
    """Yield the inputs of an op that are not constants."""
    for given in op.inputs.values():
        for one in given if isinstance(given, (list, tuple)) else (given,):
            if one.val is None:
                yield one
