"""When two variables are one value: the same variable, or the same computation on the same values.

``x.transpose(1, 2)`` written twice gives two variables of one value, and so do two relus, two negations or two casts.
The comparison walks both computations side by side, so that its cost is what they have in common. What may differ
from one evaluation to the next (random numbers, states, ops that hold blocks) is the same only as a variable.
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
    """Return whether two variables hold the same numbers, whatever float type holds them."""
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
    """Return the operands that must be the same for two results to be; None where they cannot be."""
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
    """Return which of its op's results a variable is."""
    return next(i for i, one in enumerate(var.op.outputs) if one is var)


def _variables(given: Any) -> Iterator[mil.Var]:
    yield from given if isinstance(given, (list, tuple)) else (given,)


def _repeats(op: mil.Op) -> bool:
    """Return whether an op gives the same result for the same inputs, whenever it runs."""
    return not (op.blocks or op.op_type in STATEFUL or op.op_type.startswith("random_"))


def _equal(a: Any, b: Any) -> bool:
    """Return whether two constants are the same array; either may be None."""
    if a is None or b is None:
        return False
    return bool(a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b))
