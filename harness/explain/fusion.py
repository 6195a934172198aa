"""The fusion report of a zoo model, converted for it, or of a package on disk."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import ane_rms
from harness.errors import PackageError, check_name
from harness.zoo import catalog

if TYPE_CHECKING:
    from pathlib import Path


def of_model(key: str, frontend: str = "trace", *, axes: str = "last", calibrate: bool = False) -> ane_rms.FusionReport:
    """Convert a zoo model for the Neural Engine and return its report.

    Parameters
    ----------
    key: of the zoo.
    frontend: ``"trace"`` or ``"export"``.
    axes: ``"last"`` or ``"any"``, as for ``ane_rms.convert``.
    calibrate: whether to run the model and warn of sites whose input exceeds float16.

    Raises
    ------
    UnknownNameError: for a key that is not in the zoo, or an unknown frontend.
    ExportError, ConversionError: if the model cannot be converted.
    """
    from harness.convert.conversion import convert
    from harness.export import export
    from harness.plan.variants import VARIANTS

    known = catalog.load_zoo()
    exported = export(known[check_name("model", key, known)], frontend=frontend)
    report = ane_rms.report(convert(exported, VARIANTS["on"], axes=axes).model)
    if not calibrate:
        return report
    from ane_rms.guards import peak_cautions
    from harness.measure.calibration import peaks

    return replace(report, warnings=report.warnings + peak_cautions(peaks(exported, [exported.inputs])))


def of_package(path: Path, *, axes: str = "last") -> ane_rms.FusionReport:
    """Return the report of a package: the stored one, or what its program holds and would fuse.

    Raises
    ------
    PackageError: if there is no package, or it cannot be read.
    """
    try:
        return ane_rms.report(path, axes=axes)
    except (OSError, ValueError) as error:
        said = " ".join(str(error).split())
        raise PackageError(said if said.startswith(str(path)) else f"{path}: {said}") from None
