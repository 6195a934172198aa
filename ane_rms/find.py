"""``ane_rms.find``: report the norms of a program that would fuse, and those that would not, with the reasons."""

from __future__ import annotations

from typing import TYPE_CHECKING

import coremltools as ct

from ane_rms.passes.fuse import check_axes
from ane_rms.scan import scan

if TYPE_CHECKING:
    from ane_rms import mil
    from ane_rms.report import FusionReport


def find(program: mil.Program, *, axes: str = "last") -> FusionReport:
    """Return the norm sites of a MIL program, which is not changed.

    Parameters
    ----------
    program: a MIL program, for example from ``ct.convert(..., convert_to="milinternal")``, or a model that was
    converted in this process. A lowered program has no site left; :func:`ane_rms.report` gives what was fused.
    axes: ``"last"``, or ``"any"`` to recognise norms over trailing axes or a single inner axis as well.

    Raises
    ------
    ValueError: for an unknown choice of axes.
    TypeError: for any other object, including a model loaded from disk, which has no MIL program.
    """
    if isinstance(program, ct.models.MLModel):
        program = program._mil_program  # noqa: SLF001 - the only way to the program of a converted model
    if not isinstance(program, ct.converters.mil.mil.Program):
        raise TypeError(
            "find() takes a MIL program, or a model converted in this process; "
            "for a package on disk use ane_rms.report()"
        )
    return scan(program, any_axes=check_axes(axes) == "any").report()
