"""``ane_rms.report``: the fusion report of a model, from its metadata and its program.

The program is authoritative. The metadata contains more about the conversion (misses, modules, compute units), but
other tools may drop it, or keep it with a different program. If it lists norms that the program does not contain, the
program is reported instead.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import coremltools as ct

from ane_rms.package.files import Opened, open_model, open_package
from ane_rms.package.graph import program_view
from ane_rms.package.weights import Weights
from ane_rms.passes.fuse import check_axes
from ane_rms.report import METADATA_KEY, Caution, FusionReport, kept_report
from ane_rms.scan import scan

if TYPE_CHECKING:
    import os


def report(model: ct.models.MLModel | str | os.PathLike[str], *, axes: str = "last") -> FusionReport:
    """Return the fusion report of a model, converted here or by any tool.

    Parameters
    ----------
    model: an ``MLModel``, or the path of an ``.mlpackage``. For a model that was not converted through ``ane_rms``,
    ``fused`` are the sites that would fuse, and ``lowered`` those that are already lowered.
    axes: for such a model, the same as in :func:`ane_rms.find`.

    Raises
    ------
    FileNotFoundError: if there is no package at the path.
    ValueError: if it contains no ML program, or if it or its report cannot be read.
    """
    check_axes(axes)
    if isinstance(model, ct.models.MLModel):
        program = model._mil_program  # noqa: SLF001 - the only way to the program of a converted model
        kept = kept_report(program) if program is not None else None
        stored = stored_report(model._spec)  # noqa: SLF001 - get_spec() would copy every weight in it
        if program is not None and (stored or kept):
            return stored or kept or FusionReport()
        opened = open_model(model)
    else:
        opened = open_package(Path(model))
        stored = stored_report(opened.spec)
    return of_opened(opened, stored, axes=axes)


def stored_report(spec: ct.proto.Model_pb2.Model) -> FusionReport | None:
    """Return the report in a specification's metadata, or None.

    Raises
    ------
    ValueError: if it cannot be read.
    """
    text = spec.description.metadata.userDefined.get(METADATA_KEY)
    return FusionReport.from_json(text) if text else None


def of_opened(opened: Opened, stored: FusionReport | None, *, axes: str = "last") -> FusionReport:
    """Return the report of an opened package: the stored one, if the program contains the norms that it lists.

    Parameters
    ----------
    opened: the package.
    stored: the report in its metadata, or None.
    axes: ``"last"`` or ``"any"``.
    """
    any_axes = axes == "any" or (stored is not None and any(site.axes != (-1,) for site in stored.fused))
    view = program_view(opened.spec.mlProgram, Weights(opened.folder, opened.source))
    found = scan(view, any_axes=any_axes).report()
    if stored is None:
        return found
    told, held = len(stored.fused) + len(stored.lowered), len(found.fused) + len(found.lowered)
    if told <= held:
        return stored
    remark = (
        f"the metadata tell of {told} norms and the program holds {held}: this report is of the program, "
        "which another tool has changed since the conversion"
    )
    return replace(found, compute_units=stored.compute_units, warnings=(Caution("", remark),))
