"""Decide whether two variables have the same value: the same variable, or the same computation on the same values.

``x.transpose(1, 2)`` written twice gives two variables of one value, and so do two relus, two negations or two casts.
The comparison walks both computations in parallel, so its cost is proportional to their common part. Ops whose result
may differ between evaluations (random numbers, states, ops that contain blocks) are the same only as one variable.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ane_rms import mil

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMUTATIVE = ("add", "mul", "maximum", "minimum")
STATEFUL = ("read_state", "coreml_update_state")


def same(a: mil.Var, b: mil.Var) -> bool:
    """Return whether two variables have the same numbers, whatever their float types."""
    pending, compared = [(a, b)], set[tuple[int, int]]()
    while pending:
        one, other = (mil.widened(var) for var in pending.pop())
        if one is other or (id(one), id(other)) in compared:
            continue
        compared.add((id(one), id(other)))
        if one.dtype != other.dtype:
            return False
        if mil.const_value(one) is not None or mil.const_value(other) is not None:
            if not _equal(mil.const_value(one), mil.const_value(other)):
                return False
            continue
        operands = _paired(one, other)
        if operands is None:
            return False
        pending.extend(operands)
    return True


def _paired(one: mil.Var, other: mil.Var) -> list[tuple[mil.Var, mil.Var]] | None:
    """Return the pairs of operands that must be the same for two results to be the same; None if they cannot be."""
    left, right = one.op, other.op
    if left is None or right is None or left.op_type != right.op_type or not _repeats(left):
        return None
    if _position(one) != _position(other) or left.inputs.keys() != right.inputs.keys():
        return None
    if left.op_type in COMMUTATIVE and mil.widened(left.x) is mil.widened(right.y):
        return [(left.y, right.x)]
    pairs: list[tuple[mil.Var, mil.Var]] = []
    for name, given in left.inputs.items():
        first, second = list(_variables(given)), list(_variables(right.inputs[name]))
        if len(first) != len(second):
            return None
        pairs.extend(zip(first, second, strict=True))
    return pairs


def _position(var: mil.Var) -> int:
    """Return a variable's position among its op's results."""
    return next(i for i, one in enumerate(var.op.outputs) if one is var)


def _variables(given: Any) -> Iterator[mil.Var]:
    yield from given if isinstance(given, (list, tuple)) else (given,)


def _repeats(op: mil.Op) -> bool:
    """Return whether an op gives the same result for the same inputs in every run."""
    return not (op.blocks or op.op_type in STATEFUL or op.op_type.startswith("random_"))


def _equal(a: Any, b: Any) -> bool:
    """Return whether two constants are the same array; either may be None."""
    if a is None or b is None:
        return False
    return bool(a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b))
