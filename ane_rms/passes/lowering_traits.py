"""Define a lowering: the function that builds it, and the traits that the rest of the project reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ane_rms import mil

    Build = Callable[[mil.Op], mil.Var]


@dataclass(frozen=True, slots=True)
class Strategy:
    """A lowering: the function that builds it, and the traits that the rest of the project reads."""

    build: Build
    """Builds the replacement of an ``ane_rms_norm`` and returns its value."""
    doubles_axis: bool
    """Whether it layer-normalises ``[x, -x]``, so that the normalised axis is twice as long on the device."""
    keeps_epsilon: bool
    """Whether a ``layer_norm`` of the program carries the formula's epsilon unchanged."""
    squares_stay_inside: bool
    """Whether no mean of squares is left in the program, so that any RMSNorm found there was missed."""
    rescales_rows: bool
    """Whether rows are rescaled first, so that squares overflow neither in storage nor in a sum."""
    folds_gamma: bool = False
    """Whether gamma is a parameter of the layer norm; without gamma it is then the plain layer-norm form."""


def narrower(lowerings: Mapping[str, Strategy]) -> tuple[str, ...]:
    """Return the names of lowerings that neither double the normalised axis nor store squares that may overflow."""
    return tuple(
        name
        for name, one in lowerings.items()
        if not one.doubles_axis and (one.squares_stay_inside or one.rescales_rows)
    )
