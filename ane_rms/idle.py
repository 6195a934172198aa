"""Make the report of a conversion in which the passes did not act."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ane_rms.report import Caution, FusionReport
from ane_rms.scan import scan

if TYPE_CHECKING:
    from ane_rms import mil


def idle_report(program: mil.Program | None, compute_units: str, *, axes: str, why: str = "") -> FusionReport:
    """Return a report stating that nothing was fused, and how many norms would be.

    Parameters
    ----------
    program: the converted program, or None if the conversion made none.
    compute_units: their name; empty if they are unset.
    axes: ``"last"`` or ``"any"``.
    why: the reason, if it is not the compute units.
    """
    if program is None:
        return FusionReport(compute_units=compute_units)
    found = scan(program, any_axes=axes == "any").report()
    warnings: tuple[Caution, ...] = ()
    if found.fused:
        reason = why or f"compute_units={compute_units or 'unset'}"
        mend = "" if why else ": they act for CPU_AND_NE, or with for_ane=True"
        norms = "1 RMSNorm stands" if len(found.fused) == 1 else f"{len(found.fused)} RMSNorms stand"
        warnings = (Caution("", f"{reason}: the passes did not act, and {norms} as written that would fuse{mend}"),)
    return FusionReport(compute_units=compute_units, lowered=found.lowered, warnings=warnings)
