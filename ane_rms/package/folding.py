"""Compute constants that a program derives from constants, which coremltools folds and other tools may leave."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from coremltools.converters.mil.mil import types

if TYPE_CHECKING:
    from collections.abc import Callable

LARGEST = 1 << 20
"""Largest number of elements of a computed constant; gammas and numbers are small, and weights are not computed."""

ELEMENTWISE: dict[str, Callable[[Any, Any], Any]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "real_div": np.true_divide,
}
REGROUPING = ("reshape", "expand_dims", "squeeze", "identity", "cast")


def folded(op: Any, declared: tuple[Any, tuple[Any, ...]]) -> Any:
    """Return the value of an op whose inputs are all constants, in its declared type and shape; None for any other.

    Parameters
    ----------
    op: the view of the op.
    declared: element type and shape of its result.
    """
    kind, shape = declared
    known = all(isinstance(size, int) for size in shape)
    if not known or not types.is_float(kind) or int(np.prod(shape)) > LARGEST:
        return None
    if op.op_type in REGROUPING:
        value = _value(op.x)
        return None if value is None or value.size != np.prod(shape) else _as(value.reshape(shape), kind)
    if op.op_type not in ELEMENTWISE:
        return None
    x, y = _value(op.x), _value(op.y)
    if x is None or y is None:
        return None
    with np.errstate(all="ignore"):
        return _as(np.broadcast_to(ELEMENTWISE[op.op_type](x, y), shape), kind)


def _value(var: Any) -> Any:
    if var is None or any(not isinstance(size, int) for size in var.shape) or np.prod(var.shape) > LARGEST:
        return None
    return None if var.val is None else np.asarray(var.val)


def _as(value: Any, kind: Any) -> Any:
    return np.asarray(value).astype(types.nptype_from_builtin(kind))
