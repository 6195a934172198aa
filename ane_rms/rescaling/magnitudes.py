"""Check a requested rescale and the magnitudes that it depends on, reporting mistakes in one line."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from ane_rms import mil

if TYPE_CHECKING:
    from ane_rms.mil import Program, Var

AIMS = ("peaks", "sums")
"""Aims of a rescale: bring the values into float16's range, or also the sums of squares that norms take."""

MOST = 64
"""The largest exponent that is accepted for a factor; float32 has 126."""


@dataclass(frozen=True, slots=True)
class Magnitude:
    """The magnitudes of a value that calibration measures."""

    peak: float
    """The largest magnitude of an element."""
    sum_of_squares: float | None = None
    """The largest sum of squares of a row, if a norm reads the value."""
    typical: float | None = None
    """The median root mean square of its rows, if a norm reads the value or a matrix product gives it."""


Peaks = Mapping[str, float | Magnitude]
Measure = Callable[[Any], Peaks]


@dataclass(frozen=True, slots=True)
class Rescaling:
    """A rescale by measured magnitudes.

    Attributes
    ----------
    measure: returns the magnitudes of a MIL program's values by name, as largest magnitudes or :class:`Magnitude`.
    aim: ``"peaks"``, or ``"sums"`` to bring the sums of squares that norms take below float16's range as well.
    """

    measure: Measure
    aim: str = AIMS[0]

    def __post_init__(self) -> None:
        if self.aim not in AIMS:
            raise ValueError(f"rescale: aim must be one of {', '.join(map(repr, AIMS))}; got {self.aim!r}")
        if not callable(self.measure):
            raise TypeError(f"rescale: measure must be callable; got {type(self.measure).__name__}")


def check_rescale(rescale: Any) -> Rescaling | int | None:
    """Return the rescale that ``rescale`` requests: None for none, an exponent of two, or a measured rescale.

    Raises
    ------
    ValueError, TypeError: in one line, for anything else.
    """
    if rescale is None or isinstance(rescale, Rescaling):
        return rescale
    if callable(rescale):
        return Rescaling(rescale)
    if isinstance(rescale, (bool, np.bool_)) or not isinstance(rescale, Real):
        raise TypeError(f"rescale must be None, a power of two, or a callable; got {type(rescale).__name__}")
    factor = _float(rescale)
    if not (math.isfinite(factor) and factor > 0 and math.frexp(factor)[0] == 0.5):
        raise ValueError(f"rescale must be a power of two, such as 0.125; got {_shown(rescale)}")
    exponent = math.frexp(factor)[1] - 1
    if abs(exponent) > MOST:
        raise ValueError(f"rescale must lie between 2**-{MOST} and 2**{MOST}; got 2**{exponent}")
    return exponent


def measured(program: Program, measure: Measure) -> dict[Var, Magnitude]:
    """Return the magnitudes of a program's values that ``measure`` gives.

    Raises
    ------
    ValueError: for a name that no value has, for a magnitude that is not a finite number of 0 or more, and for a
        callable that raises.
    TypeError: for a result that is not a mapping to numbers.
    """
    try:
        given = measure(program)
    except Exception as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"rescale: the callable raised {type(error).__name__}: {reason}") from error
    if not isinstance(given, Mapping):
        raise TypeError(f"rescale: the callable must return a mapping of names to peaks; got {type(given).__name__}")
    by_name, found = _by_name(program), dict["Var", Magnitude]()
    for name, value in given.items():
        if name not in by_name:
            raise ValueError(f"rescale: a peak is given for {name!r}, which no value of the program is called")
        found.update(dict.fromkeys(by_name[name], _magnitude(name, value)))
    return found


def _by_name(program: Program) -> dict[str, list[Var]]:
    """Return every value of a program by its name: the functions' inputs and the results of all ops."""
    found: dict[str, list[Var]] = {}
    for function in program.functions.values():
        for var in function.inputs.values():
            found.setdefault(var.name, []).append(var)
    for block in mil.blocks(program):
        for op in block.operations:
            for var in op.outputs:
                found.setdefault(var.name, []).append(var)
    return found


def _magnitude(name: str, value: Any) -> Magnitude:
    if not isinstance(value, Magnitude):
        return Magnitude(_number(name, value))
    return Magnitude(
        _number(name, value.peak),
        None if value.sum_of_squares is None else _number(name, value.sum_of_squares),
        None if value.typical is None else _number(name, value.typical),
    )


def _number(name: str, value: Any) -> float:
    if isinstance(value, (str, bytes, bool)) or np.ndim(value):
        raise TypeError(f"rescale: the peak of {name!r} must be a number; got {type(value).__name__}")
    try:
        number = _float(value)
    except (TypeError, ValueError):
        raise TypeError(f"rescale: the peak of {name!r} must be a number; got {type(value).__name__}") from None
    if not (math.isfinite(number) and number >= 0):
        raise ValueError(f"rescale: the peak of {name!r} must be a finite number, 0 or more; got {_shown(value)}")
    return number


def _float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _shown(value: Any) -> str:
    return "a larger number than a float holds" if isinstance(value, int) and math.isinf(_float(value)) else repr(value)
