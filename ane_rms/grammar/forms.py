"""Define the results of the productions, and the questions that all productions ask about an op.

A :class:`Quadratic` is ``scale * sum(x^2) + epsilon``; a :class:`Root` is ``number * (scale * sqrt(quadratic) +
outside)^(1 or -1)``; an :class:`RmsNorm` is the whole. A :class:`Refusal` states which production failed, and at which
op.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ane_rms import mil
from ane_rms.grammar.values import same

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

SMALLEST_FP16 = 2.0**-24
"""The smallest positive float16; a smaller epsilon becomes this one in a float16 program."""

NO_FIXED_SIZE = "the normalised axis has no fixed size: convert with one, other axes may stay flexible"

NO_HALF = "a LayerNorm of a value joined with its negative, of which no half is taken whole, in that value's axes"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A near match: ``reason`` is a sentence on why it is not an RMSNorm, ``op`` the op at which the match failed."""

    reason: str
    op: mil.Op
    production: str
    """The production that failed: ``quadratic``, ``root``, ``product``, ``rms_norm`` or ``lowered``."""
    root: mil.Op | None = None
    """The op that takes the root, if the match reached one."""
    is_layer_norm: bool = False


@dataclass(frozen=True, slots=True)
class Quadratic:
    """``scale * sum(x^2 over axes) + epsilon``, at least ``floor``.

    ``roots`` are the ops that took a root that squaring has undone, as in ``norm(x)^2``.
    """

    x: mil.Var
    axes: tuple[int, ...]
    scale: float
    spelling: str
    epsilon: float = 0.0
    floor: float = 0.0
    roots: tuple[mil.Op, ...] = ()
    dropped: float = 0.0
    """The term that coremltools adds by itself; it is omitted here and counted in the bound of the deviation."""
    is_turned: bool = False
    """Whether the mean is taken over x's axes in another order, and transposed."""


@dataclass(frozen=True, slots=True)
class Root:
    """``number * (scale * sqrt(quadratic) + outside)^power``, with base at least ``floor``; ``op`` takes the root."""

    quadratic: Quadratic
    op: mil.Op
    power: int
    spelling: str
    scale: float = 1.0
    outside: float = 0.0
    floor: float = 0.0
    number: float = 1.0


@dataclass(frozen=True, slots=True)
class RmsNorm:
    """One RMSNorm: ``op`` computes its result from ``x``.

    ``axes`` are counted from the back, ascending. ``gamma`` is float64 of x's shape over them, or None. ``after`` is a
    constant that varies along other axes and stays a multiplication, or None. ``others`` are the values, at most one,
    to the power of 1 or -1, that multiply the norm. ``roots`` are the ops that take the root, ``interior`` those that
    multiply. ``kind`` is ``rms_norm`` or ``l2_norm``.
    """

    op: mil.Op
    x: mil.Var
    axes: tuple[int, ...]
    gamma: npt.NDArray[np.float64] | None
    after: npt.NDArray[np.float64] | None
    epsilon: float
    spelling: str
    kind: str
    deviation_bound: float
    roots: tuple[mil.Op, ...]
    interior: tuple[mil.Op, ...]
    others: tuple[tuple[mil.Var, int], ...] = ()


@dataclass(frozen=True, slots=True)
class LoweredNorm:
    """One RMSNorm in a lowered form: ``value``, which ``op`` computes, is the RMSNorm of ``x``.

    ``axes`` and ``gamma`` are as in :class:`RmsNorm`, for the result. ``form`` is the lowering's name, or
    ``layer_norm_primitives``. ``permutation`` moves the axes of ``x`` into the result's, if they differ. ``roots`` are
    the ops that take a root, if the form has any, ``interior`` the multiplications after them.
    """

    op: mil.Op
    value: mil.Var
    x: mil.Var
    axes: tuple[int, ...]
    gamma: npt.NDArray[np.float64] | None
    epsilon: float
    form: str
    roots: tuple[mil.Op, ...] = ()
    permutation: tuple[int, ...] | None = None
    interior: tuple[mil.Op, ...] = ()
    also: tuple[LoweredNorm, ...] = ()
    """Further readings of the same norm: of its negative, or of the same half again."""

    @property
    def is_unit(self) -> bool:
        """Whether the result, with the number that multiplies it, is of length 1, up to float16's rounding."""
        sizes = [mil.shape(self.value)[axis] for axis in self.axes]
        number = 1.0 if self.gamma is None else float(self.gamma.reshape(-1)[0])
        if not all(isinstance(n, int) for n in sizes) or (self.gamma is not None and np.ptp(self.gamma) > 0):
            return False
        if (
            self.gamma is None
            and mil.is_interior(self.value)
            and self.value.child_ops[0].op_type in ("mul", "real_div")
        ):
            scaled = times_number(self.value.child_ops[0])
            number = 1.0 if scaled is None else scaled[1]
        return math.isclose(number * math.sqrt(math.prod(int(n) for n in sizes)), 1.0, rel_tol=2.0**-9)


def constant_operand(op: mil.Op) -> tuple[mil.Var, float] | None:
    """Return (the other operand, the number) of a commutative op with one constant of equal elements."""
    for value, constant in ((op.x, op.y), (op.y, op.x)):
        number = mil.scalar(constant)
        if number is not None and mil.const_value(value) is None:
            return value, number
    return None


def number_operand(op: mil.Op) -> tuple[mil.Var, float] | None:
    """Return (value, number) if ``op`` combines a value with a number, which is on the right of ``/`` and ``-``."""
    if op.op_type not in ("real_div", "sub"):
        return constant_operand(op)
    number = mil.scalar(op.y)
    return None if number is None else (op.x, number)


def times_number(op: mil.Op) -> tuple[mil.Var, float] | None:
    """Return (value, factor) if ``op`` multiplies a value by a number, or divides it by one, and keeps its shape."""
    if op.op_type == "mul":
        found = constant_operand(op)
    else:
        divisor = mil.scalar(op.y)
        found = (op.x, 1 / divisor) if divisor else None
    return found if found is not None and mil.shape(found[0]) == mil.shape(op.outputs[0]) else None


def without_numbers(var: mil.Var) -> tuple[mil.Var, float]:
    """Return (value, factor) with ``var = factor * value``, where factor combines all numbers that scale the value."""
    return _scaled(var, mil.base)[-1]


def common_value(a: mil.Var, b: mil.Var) -> tuple[mil.Var, float, float] | None:
    """Return (value, m, n) with ``a = m * value`` and ``b = n * value``; None if they are numbers times no one value.

    The value is the nearest to ``a``. A value further back may be a part of another norm, which would be needed twice
    if it were read from here: once in that norm, once as it was written. A value and its rounding are two values.
    """
    multiples = _scaled(b, mil.widened)
    pairs = ((one, m, n) for one, m in _scaled(a, mil.widened) for other, n in multiples if same(one, other))
    return next(pairs, None)


def _scaled(var: mil.Var, before: Callable[[mil.Var], mil.Var]) -> list[tuple[mil.Var, float]]:
    """Return (value, factor) with ``var = factor * value``, from ``var`` itself on back.

    Parameters
    ----------
    var: the value to begin at.
    before: returns a value before its casts: ``mil.base`` before all of them, ``mil.widened`` before those that do not
        round.
    """
    found = [(var, 1.0)]
    while (op := mil.producer(before(found[-1][0]), "mul", "real_div")) is not None and mil.is_float_arithmetic(op):
        scaled = times_number(op)
        if scaled is None:
            break
        found.append((scaled[0], found[-1][1] * scaled[1]))
    return found


def floored(op: mil.Op) -> tuple[mil.Var, float] | None:
    """Return (x, floor) if a ``clip`` bounds x only from below, as ``clamp(min=...)`` does."""
    low, high = mil.scalar(op.alpha), mil.scalar(op.beta)
    largest = np.finfo(np.float16 if mil.dtype(op.x) == "fp16" else np.float32).max
    unbounded = high is not None and high >= largest
    return (op.x, low) if low is not None and unbounded else None


def called(q: Quadratic) -> str:
    """Return the name of a quadratic in sentences."""
    return "mean square" if q.spelling == "mean" else "sum of squares"


def described(var: mil.Var) -> str:
    """Describe a value that is in the place of a number."""
    known = mil.const_value(var)
    return "computed at run time" if known is None else f"a constant of shape {list(known.shape)}"


def reduced_axes(op: mil.Op) -> tuple[int, ...]:
    """Return the axes that an op reduces, counted from the front, ascending."""
    given = range(op.x.rank) if op.axes is None else np.atleast_1d(op.axes.val)
    return mil.positive_axes([int(axis) for axis in given], op.x.rank)
