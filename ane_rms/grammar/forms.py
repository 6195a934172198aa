"""What the productions return, and what they all ask of an op.

A :class:`Quadratic` is ``scale * sum(x^2) + epsilon``; a :class:`Root` is ``number * (scale * sqrt(quadratic) +
outside)^(1 or -1)``; a :class:`Product` is constants, and factors to the power of 1 or -1; an :class:`RmsNorm` is the
whole.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ane_rms import mil

if TYPE_CHECKING:
    import numpy.typing as npt

SMALLEST_FP16 = 2.0**-24
"""The smallest positive float16: a smaller epsilon becomes this one in a float16 program."""

NO_FIXED_SIZE = "the normalised axis has no fixed size: convert with one, other axes may stay flexible"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Nearly an RMSNorm, but: ``reason`` is a sentence, ``op`` the root it is about."""

    reason: str
    op: mil.Op | None = None
    is_layer_norm: bool = False


@dataclass(frozen=True, slots=True)
class Quadratic:
    """``scale * sum(x^2 over axes) + epsilon``, at least ``floor``; ``kept`` if the summed axes stay as 1."""

    x: mil.Var
    axes: tuple[int, ...]
    scale: float
    kept: bool
    spelling: str
    epsilon: float = 0.0
    floor: float = 0.0


@dataclass(frozen=True, slots=True)
class Root:
    """``number * (scale * sqrt(quadratic) + outside)^power``, the base at least ``floor``; ``op`` takes the root."""

    quadratic: Quadratic
    op: mil.Op
    power: int
    spelling: str
    scale: float = 1.0
    outside: float = 0.0
    floor: float = 0.0
    number: float = 1.0


@dataclass(slots=True)
class Product:
    """A flattened product. ``ops`` are the multiplications and casts it is made of."""

    constants: list[tuple[npt.NDArray[np.float64], int]] = field(default_factory=list)
    factors: list[tuple[mil.Var, int]] = field(default_factory=list)
    ops: list[mil.Op] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class RmsNorm:
    """One RMSNorm: ``op`` computes its result from ``x``.

    ``axes`` count from the back, ascending. ``gamma`` is float64 of x's shape over them, or None; ``after`` a constant
    that varies along other axes and stays a multiplication, or None; ``others`` are values, to the power of 1 or -1,
    that multiply the norm. ``root`` takes the root, ``interior`` multiplies.
    """

    op: mil.Op
    x: mil.Var
    axes: tuple[int, ...]
    gamma: npt.NDArray[np.float64] | None
    after: npt.NDArray[np.float64] | None
    epsilon: float
    spelling: str
    deviation_bound: float
    root: mil.Op
    interior: tuple[mil.Op, ...]
    others: tuple[tuple[mil.Var, int], ...] = ()


@dataclass(frozen=True, slots=True)
class LoweredNorm:
    """One RMSNorm that stands lowered: ``value``, which ``op`` computes, is that of ``x``.

    ``axes`` and ``gamma`` are as in :class:`RmsNorm`, of the result; ``form`` is the lowering's name, or
    ``layer_norm_primitives``. ``permutation`` moves the axes of ``x`` into the result's, where they differ. ``roots``
    are the ops that take a root where the form shows any, ``interior`` the multiplications behind them.
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


def same(a: mil.Var, b: mil.Var) -> bool:
    """Return whether two variables are one value, but for casts between float types."""
    return mil.base(a) is mil.base(b)


def constant_operand(op: mil.Op) -> tuple[mil.Var, float] | None:
    """Return (the other operand, the number) of a commutative op with one constant of one element."""
    for value, constant in ((op.x, op.y), (op.y, op.x)):
        number = mil.scalar(constant)
        if number is not None and mil.const_value(value) is None:
            return value, number
    return None


def floored(op: mil.Op) -> tuple[mil.Var, float] | None:
    """Return (x, floor) where a ``clip`` bounds x from below alone, as ``clamp(min=...)`` does."""
    low, high = mil.scalar(op.alpha), mil.scalar(op.beta)
    largest = np.finfo(np.float16 if mil.dtype(op.x) == "fp16" else np.float32).max
    unbounded = high is not None and high >= largest
    return (op.x, low) if low is not None and unbounded else None
