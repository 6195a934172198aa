"""For which compute units the optimisation acts."""

from __future__ import annotations

from typing import Any

import coremltools as ct


def units_name(compute_units: Any) -> str:
    """Return the name of a ``ct.ComputeUnit``, given as one, by name, or as None (``""``).

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
    """Return whether norms are fused and lowered for ``compute_units``: for ``CPU_AND_NE``, or by the user's word.

    Parameters
    ----------
    compute_units: a ``ct.ComputeUnit``, its name, or None.
    for_ane: the user's word that the Neural Engine is meant, whatever the compute units are.

    Raises
    ------
    ValueError: for a name that no compute unit has.
    """
    return units_name(compute_units) == "CPU_AND_NE" or for_ane
