"""Decide for which compute units the optimisation acts."""

from __future__ import annotations

from typing import Any

import coremltools as ct


def units_name(compute_units: Any) -> str:
    """Return the name of a ``ct.ComputeUnit``, which is given as the unit, its name, or None (``""``).

    Raises
    ------
    ValueError: for a name that no compute unit has.
    """
    if compute_units is None:
        return ""
    if isinstance(compute_units, ct.ComputeUnit):
        return str(compute_units.name)
    name = str(compute_units).removeprefix("ComputeUnit.")
    known = [unit.name for unit in ct.ComputeUnit]
    if name not in known:
        raise ValueError(f"unknown compute unit {compute_units!r}; known: {', '.join(known)}")
    return name


def targets_neural_engine(compute_units: Any, *, for_ane: bool = False) -> bool:
    """Return whether norms are fused and lowered: for ``CPU_AND_NE``, or if the user asks for it.

    Parameters
    ----------
    compute_units: a ``ct.ComputeUnit``, its name, or None.
    for_ane: whether the user targets the Neural Engine, whatever the compute units are.

    Raises
    ------
    ValueError: for a name that no compute unit has.
    """
    return units_name(compute_units) == "CPU_AND_NE" or for_ane
