"""Find the op that takes a root, the value that it takes it of, and the exponent.

``sqrt``, ``rsqrt``, ``pow`` and ``exp(n * log(value))`` raise a value to a power; ``reduce_l2_norm`` and ``l2_norm``
sum the squares themselves. Every power of a mean or sum of squares that is not a whole number counts as a root, so that
none is ignored silently.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ane_rms import mil
from ane_rms.grammar.forms import Quadratic, Refusal, called, without_numbers
from ane_rms.grammar.quadratic import quadratic
from ane_rms.grammar.squares import OTHER_SUMS, Squares, holds_mean_square, operands, squared

EXPONENTS = {"sqrt": 0.5, "rsqrt": -0.5}
LOGARITHMS = {"exp": 1.0, "exp2": math.log(2)}
"""The natural logarithm of the base of each exponential."""

ROUNDING = 1e-6
"""Relative error of a factor such as 1 / log(2) that is stored in float32."""


@dataclass(frozen=True, slots=True)
class Taken:
    """``(value + guard)^exponent``; the exponent is None if it differs by element."""

    value: mil.Var
    exponent: float | None
    guard: float = 0.0

    @property
    def is_square_root(self) -> bool:
        """Whether it is the root or the inverse root."""
        return self.exponent in (0.5, -0.5)

    @property
    def is_whole(self) -> bool:
        """Whether it is a whole power, which takes no root."""
        return self.exponent is not None and self.exponent.is_integer()


def taken(op: mil.Op) -> Taken | None:
    """Return the power that ``op`` raises a value to; None if it does not, or to one known at run time only."""
    if op.op_type in EXPONENTS:
        guard = mil.scalar(op.epsilon) or 0.0 if op.op_type == "rsqrt" else 0.0
        return Taken(op.x, EXPONENTS[op.op_type], guard)
    if op.op_type == "pow":
        known = mil.floats(op.y)
        if known is None or known.size == 0:
            return None
        whole = bool(np.equal(known, np.round(known)).all())
        return None if mil.scalar(op.y) is None and whole else Taken(op.x, mil.scalar(op.y))
    if op.op_type not in LOGARITHMS:
        return None
    value, factor = without_numbers(op.x)
    logarithm = mil.float_producer(value, "log")
    if logarithm is None:
        return None
    exponent = factor * LOGARITHMS[op.op_type]
    nearest = round(2 * exponent) / 2
    exponent = nearest if math.isclose(exponent, nearest, rel_tol=ROUNDING) else exponent
    return Taken(logarithm.x, exponent, mil.scalar(logarithm.epsilon) or 0.0)


def takes_root(op: mil.Op) -> bool:
    """Return whether ``op`` takes the root, or the inverse root, of a mean or sum of squares."""
    if op.op_type in ("reduce_l2_norm", "l2_norm"):
        return mil.is_float(op.x)
    found = taken(op)
    if found is not None:
        return not found.is_whole and holds_mean_square(found.value)
    return _logarithm_of_sum(op) is not None


def _logarithm_of_sum(op: mil.Op) -> mil.Op | None:
    """Return the op that gives the logarithm of a sum of squares, if ``op`` is an exponential of a part of that."""
    if op.op_type not in LOGARITHMS:
        return None
    value, factor = without_numbers(op.x)
    summed = mil.float_producer(value, "reduce_log_sum", "reduce_log_sum_exp")
    if summed is None or (factor * LOGARITHMS[op.op_type]).is_integer():
        return None
    if summed.op_type == "reduce_log_sum":
        return summed if isinstance(squared(summed.x, "sum"), Squares) else None
    inner, power = without_numbers(summed.x)
    return summed if power == 2 and mil.float_producer(inner, "log") is not None else None


def not_a_square_root(op: mil.Op) -> Refusal | None:
    """Return why the power that ``op`` takes of a mean or sum of squares is no square root; None if it is one."""
    if op.op_type == "l2_norm":
        return Refusal("`l2_norm` takes the norm over more axes than the last one", op, "root", op)
    found, summed = taken(op), _logarithm_of_sum(op)
    if summed is not None:
        return Refusal(_other_sum(summed), summed, "quadratic", op)
    if found is None or found.is_square_root:
        return None
    q = quadratic(found.value)
    if not isinstance(q, Quadratic):
        return Refusal((q or unfollowed(found.value)).reason, op, "root", op)
    power = "powers that differ by element" if found.exponent is None else f"the power of {found.exponent:g}"
    return Refusal(f"the {called(q)} is raised to {power}, not to that of 0.5 or -0.5", op, "root", op)


def unfollowed(var: mil.Var) -> Refusal:
    """Return the op between a mean of squares and its root, from ``var`` on, that the grammar does not follow."""
    op = mil.base(var).op
    found = _below(op)
    if found is not None:
        return found
    if not mil.is_float_arithmetic(op):
        reason = f"`{op.op_type}` has integers between the squares and their root; only float arithmetic is fused"
        return Refusal(reason, op, "quadratic")
    sums = not any(holds_mean_square(given) for given in operands(op))
    if sums and op.op_type == "add":
        return Refusal("squares of several values are added up, not those of the elements of one", op, "quadratic")
    if sums and op.op_type in OTHER_SUMS:
        return Refusal(_other_sum(op), op, "quadratic")
    return Refusal(f"`{op.op_type}` stands between the mean square and its root", op, "quadratic")


def _below(op: mil.Op) -> Refusal | None:
    """Return the refusal of the first operand that holds a mean square; None if it is one or there is none."""
    given = next(filter(holds_mean_square, operands(op)), None)
    if given is None:
        return None
    found = quadratic(given)
    return unfollowed(given) if found is None else found if isinstance(found, Refusal) else None


def _other_sum(op: mil.Op) -> str:
    return f"the squares are summed by `{op.op_type}`, not by a mean or sum over an axis"
