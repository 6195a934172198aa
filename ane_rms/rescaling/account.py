"""Make a rescale's entries in the report: the scaled values, the factor, the changed constants, and the losses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ane_rms.rescaled import Rescaled
from ane_rms.rescaling.factors import ALL_READERS
from ane_rms.rescaling.planning import FLOAT16_NORMAL, ceiling

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ane_rms.mil import Var
    from ane_rms.rescaling.factors import Changes
    from ane_rms.rescaling.magnitudes import Magnitude
    from ane_rms.rescaling.planning import Left

    Finish = Callable[[Changes], Rescaled]


def rescaled(exponent: int, values: Sequence[Var], magnitudes: Mapping[Var, Magnitude]) -> Finish:
    """Return a function that makes the entry of one region, given the changes that its exponent has caused.

    Parameters
    ----------
    exponent: the exponent of the region, not 0.
    values: its values, before any change.
    magnitudes: the magnitudes of the program's values.
    """
    largest = _largest(values, magnitudes)
    peak = magnitudes[largest].peak if largest in magnitudes else None
    names, touched = tuple(var.name for var in values), _touched(values)
    lost = _lost(exponent, values, magnitudes)

    def finish(changes: Changes) -> Rescaled:
        epsilons = [(before, after) for name, before, after in changes.epsilons if name in touched]
        pairs = list(dict.fromkeys(epsilons))
        return Rescaled(
            name=largest.name,
            factor=2.0**exponent,
            values=names,
            weights=tuple(dict.fromkeys(name for name, _, op in changes.constants if op in touched)),
            epsilon_before=tuple(before for before, _ in pairs),
            epsilon_after=tuple(after for _, after in pairs),
            multiplications=tuple(
                dict.fromkeys(
                    f"{name} times 2**{step} for {reader}"
                    for name, step, reader in changes.multiplications
                    if name in names or (name if reader == ALL_READERS else reader) in touched
                )
            ),
            peak_before=peak,
            peak_after=None if peak is None else peak * 2.0**exponent,
            ceiling=ceiling(largest) if peak is not None else min(map(ceiling, values)),
            reason=lost,
        )

    return finish


def left_alone(left: Left, magnitudes: Mapping[Var, Magnitude]) -> Finish:
    """Return a function that makes the entry of a region that is not scaled."""
    largest = _largest(left.values, magnitudes)
    peak = magnitudes[largest].peak
    entry = Rescaled(
        name=largest.name,
        factor=1.0,
        values=tuple(var.name for var in left.values),
        peak_before=peak,
        peak_after=peak,
        ceiling=ceiling(largest),
        reason=f"left as it is: {left.reason}",
    )
    return lambda _changes: entry


def _largest(values: Sequence[Var], magnitudes: Mapping[Var, Magnitude]) -> Var:
    """Return the value nearest to its ceiling, or furthest beyond it."""
    return max(values, key=lambda var: magnitudes[var].peak / ceiling(var) if var in magnitudes else -1.0)


def _touched(values: Sequence[Var]) -> set[str]:
    """Return the names of the ops that write or read values."""
    ops = {op for var in values for op in (var.op, *var.child_ops) if op is not None}
    return {name for op in ops for name in (op.name, *(var.name for var in op.outputs))}


def _lost(exponent: int, values: Sequence[Var], magnitudes: Mapping[Var, Magnitude]) -> str:
    """Return a sentence if the smallest values of a region leave float16's normal range, else ``""``."""
    rows = [(_typical(magnitudes[var]), var.name) for var in values if var in magnitudes]
    smallest, name = min(((size, name) for size, name in rows if size > 0), default=(0.0, ""))
    if not smallest or smallest * 2.0**exponent >= FLOAT16_NORMAL:
        return ""
    return (
        f"both ends do not fit: {name!r} is typically {smallest:.3g}, and {smallest * 2.0**exponent:.3g} after, "
        f"below float16's normal range ({FLOAT16_NORMAL:.3g}): its small rows lose digits"
    )


def _typical(magnitude: Magnitude) -> float:
    return magnitude.peak if magnitude.typical is None else magnitude.typical
