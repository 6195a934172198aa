"""Read the constants that multiply a normalised row, and bring them into the shape of a gamma."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ane_rms import mil
from ane_rms.grammar.doubled import UNIFORM
from ane_rms.grammar.spread import narrowed

if TYPE_CHECKING:
    import numpy.typing as npt


def multiplied(
    value: mil.Var, shape: tuple[int | str, ...], axes: tuple[int, ...]
) -> tuple[mil.Op, npt.NDArray[np.float64]] | None:
    """Return the only reader of a value, if it multiplies by a constant that varies along ``axes`` only, and that."""
    while mil.is_interior(value) and (cast := value.child_ops[0]).op_type == "cast" and mil.is_float(cast.outputs[0]):
        value = cast.outputs[0]
    if not mil.is_interior(value) or (op := value.child_ops[0]).op_type not in ("mul", "real_div"):
        return None
    if op.op_type == "real_div" and op.x is not value:
        return None
    constant = mil.floats(op.y if op.x is value else op.x)
    if constant is None or constant.ndim > len(shape) or mil.shape(op.outputs[0]) != shape:
        return None
    if op.op_type == "real_div":
        if not constant.all():
            return None
        constant = 1 / constant
    spread = narrowed(constant, len(shape))
    return None if varies_beside(spread, axes) else (op, spread)


def varies_beside(values: npt.NDArray[np.float64], axes: tuple[int, ...]) -> bool:
    """Return whether constants vary along other axes than the normalised ones."""
    return any(size != 1 for axis, size in enumerate(values.shape) if axis not in axes)


def along(
    values: npt.NDArray[np.float64], shape: tuple[int | str, ...], axes: tuple[int, ...]
) -> npt.NDArray[np.float64]:
    """Return constants, of x's rank or lower, in the shape of x over ``axes``."""
    spread = values.reshape((1,) * (len(shape) - values.ndim) + values.shape)
    sizes = [int(size) if axis in axes else 1 for axis, size in enumerate(shape)]
    return np.broadcast_to(spread, sizes).reshape([int(shape[axis]) for axis in axes])


def is_uniform(gamma: npt.NDArray[np.float64]) -> bool:
    """Return whether every element is 1, up to the rounding of a lowering's constants."""
    return bool(np.all(np.abs(gamma - 1.0) <= UNIFORM))
