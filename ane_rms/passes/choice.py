"""``lowering="auto"``: choose the form of a norm by width, family and calibrated range, and give the reason.

The reasons are in the table of docs/engine.md: the error of each lowering by input regime under the policies of the
Neural Engine, and the cost of each by published times.

1. ``reduce_l2_norm`` if calibration has measured the norm of every row, it leaves a factor of 2 to 65,504, and the row
   with the elements that hold epsilon fits the family.
2. ``layer_norm`` if the doubled axis fits the family and no input has enumerated shapes: it holds in every regime.
3. ``l2_norm`` otherwise, along the last axis, and ``max_abs`` along another: neither doubles the axis.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ane_rms.neural_engine import limit
from ane_rms.passes.parts import PAD, axes_of, has_fixed_axes

if TYPE_CHECKING:
    from ane_rms import mil

FLOAT16_MAX = 65_504.0
HEADROOM = 2.0
"""Factor that a calibrated norm must leave to float16's largest number, because other inputs may be larger."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A lowering and the reason for it."""

    lowering: str
    reason: str


@dataclass(frozen=True, slots=True)
class Norm:
    """The known properties of a norm.

    Parameters
    ----------
    width: number of elements of the last normalised axis; None if not known before run time.
    axes: number of normalised axes.
    last: whether the last axis of x is among them.
    row_norm: the largest norm of a row in calibration; None without calibration.
    """

    width: int | None
    axes: int = 1
    last: bool = True
    row_norm: float | None = None


def choose(norm: Norm, family: str | None = None, *, enumerated: bool = False) -> Choice:
    """Return the lowering of a norm on a family, or on all families if none is named.

    Parameters
    ----------
    norm: the norm.
    family: key of ane_rms/neural_engine.json.
    enumerated: whether an input of the model has enumerated shapes.

    Raises
    ------
    ValueError: for an unknown family.
    """
    extent = limit("extent", family)
    if norm.width is None:
        return Choice("layer_norm", "the width is not known before run time, so that every lowering is expanded")
    in_range = norm.row_norm is not None and norm.row_norm * HEADROOM <= FLOAT16_MAX
    if norm.row_norm is not None and in_range and norm.axes == 1 and norm.width + PAD <= extent:
        return Choice(
            "reduce_l2_norm",
            f"rows' norms reached {norm.row_norm:,.3g} in calibration, below half of {FLOAT16_MAX:,.0f}; "
            "by published times it is the cheapest form",
        )
    if 2 * norm.width <= extent and not enumerated:
        range_known = (
            "" if norm.row_norm is None or in_range else f"; a row's norm of {norm.row_norm:,.3g} is too large for less"
        )
        return Choice("layer_norm", f"it holds in every regime, and {2 * norm.width:,} elements fit{range_known}")
    reason = (
        "a layer norm is reported to leave the engine in a model with enumerated shapes"
        if enumerated
        else f"the doubled axis of {2 * norm.width:,} elements is above {extent:,.0f}"
    )
    return Choice("l2_norm" if norm.last and norm.axes == 1 else "max_abs", reason)


def norm_of(op: mil.Op, row_norm: float | None = None) -> Norm:
    """Return the properties of an ``ane_rms_norm`` that the choice depends on."""
    axes = axes_of(op)
    size = op.x.shape[axes[-1]]
    return Norm(int(size) if has_fixed_axes(op) else None, len(axes), axes[-1] == op.x.rank - 1, row_norm)
