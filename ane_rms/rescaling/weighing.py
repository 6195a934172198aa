"""Weigh both ends of float16 for the exponent of a region: small rows against small weights.

A region between two weights, such as an attention's values, may have any exponent that is small enough. The higher it
is, the smaller are the weights that take its inverse; the lower, the smaller are its own rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ane_rms.mapped_arrays import release
from ane_rms.rescaling.stepping import PRICE, SMALLEST_EXPONENT, loss

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import numpy.typing as npt

    from ane_rms.mil import Op, Var
    from ane_rms.rescaling.magnitudes import Magnitude
    from ane_rms.rescaling.survey import Survey

SAMPLE = 1 << 16
"""Number of a constant's elements that its size is estimated from."""
QUARTILE = 0.32
"""The magnitude below which a quarter of normal numbers lie, in standard deviations."""
NORM_OPS = frozenset({"ane_rms_norm", "layer_norm"})
POWER_OPS = frozenset({"square", "pow"})


def weighed_exponent(most: int, values: Collection[Var], magnitudes: Mapping[Var, Magnitude], survey: Survey) -> int:
    """Return the exponent, at most ``most``, at which a region and its constants lose the least.

    It is ``most`` if that loses less than a multiplication is worth, and even if an op gives a square.

    Parameters
    ----------
    most: the largest exponent, 0 or less, with which every value is in range.
    values: the region.
    magnitudes: of the program's values.
    survey: of the program.
    """
    step = 2 if any(var.op is not None and var.op.op_type in POWER_OPS for var in values) else 1
    most -= most % step
    inside = set(values)
    ops = dict.fromkeys(op for var in values for op in (var.op, *var.child_ops) if op is not None)
    constants = [one for op in ops if (one := _constant(op, inside, survey)) is not None]
    norms = [op for op in ops if op.op_type in NORM_OPS and op.x in inside and op.x in magnitudes]
    rows = [_size(magnitudes[var]) for var in values if var in magnitudes]

    def lost(exponent: int) -> float:
        small = sum(_small(size, exponent) for size in rows)
        small += sum(_small(size, exponent * multiple) for size, multiple in constants)
        return small + sum(loss(op, magnitudes[op.x], exponent) for op in norms)

    if not most or lost(most) <= PRICE:
        return most
    return min(range(most, SMALLEST_EXPONENT, -step), key=lambda exponent: (lost(exponent), -exponent), default=most)


def _small(size: float, exponent: int) -> float:
    """Return the relative error of float16's smallest steps in numbers of a size, times ``2**exponent``."""
    return min(1.0, 2.0 ** (-25 - exponent) / size) if size else 0.0


def _constant(op: Op, inside: set[Var], survey: Survey) -> tuple[float, int] | None:
    """Return the size of the constant that takes an exponent at ``op``, and which multiple of the region's it takes."""
    rule = survey.relation(op)
    if rule.multiplier is None or not rule.outputs or not survey.may_scale(op, rule.multiplier.slot.of(op)):
        return None
    natural = sum(one.power for one in rule.factors if one.slot.of(op) in inside)
    multiple = round(rule.multiplier.power * ((rule.outputs[0] in inside) - natural))
    return (_smaller_part(np.asarray(rule.multiplier.slot.of(op).val)), multiple) if multiple else None


def _size(magnitude: Magnitude) -> float:
    """Return the typical size of a value; if it was not measured, a tenth of its peak, as for normal numbers."""
    return magnitude.peak / 10 if magnitude.typical is None else magnitude.typical


def _smaller_part(array: npt.NDArray[Any]) -> float:
    """Return the size of a constant's smaller part, such as one of two weights that are joined.

    It is the lower quartile of the magnitudes that are not 0, in standard deviations of normal numbers.
    """
    flat = array.reshape(-1)
    sample = np.abs(flat[:: max(1, flat.size // SAMPLE)].astype(np.float64))
    release(array)
    sample = sample[sample > 0]
    return float(np.quantile(sample, 0.25)) / QUARTILE if sample.size else 0.0
