"""Give the fusion report of a zoo model, which is converted to get it, or of a package on disk."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import ane_rms
from harness.errors import PackageError
from harness.plan.variants import VARIANTS
from harness.system.text import squeezed

if TYPE_CHECKING:
    from pathlib import Path

    from harness.export import ExportedModel
    from harness.plan.variants import Variant


@dataclass(frozen=True, slots=True)
class Explained:
    """A fusion report and, if calibration was requested, how near values come to float16's limits."""

    report: ane_rms.FusionReport
    peaks: tuple[tuple[str, float, float, float], ...] = ()
    """Name, peak, peak after the rescale and ceiling of the op, for inputs of norms and results of matrix products."""
    row_norm: float | None = None
    """The largest norm of a row that any norm read in calibration, after the rescale; None without calibration."""


def of_model(
    key: str,
    frontend: str = "trace",
    variant: Variant = VARIANTS["on"],
    *,
    axes: str = "last",
    calibrate: bool = False,
    rescale: str = "",
    aim: str = "peaks",
) -> Explained:
    """Convert a zoo model, by default for the Neural Engine, and return its report.

    Parameters
    ----------
    key: of the zoo, or a checkpoint: a folder, a GGUF file, or a hub id.
    frontend: ``"trace"`` or ``"export"``.
    variant: the compute units, and whether norms are lowered for all of them.
    axes: ``"last"`` or ``"any"``, as for ``ane_rms.convert``.
    calibrate: whether to run the model, list the peaks of its values, and warn of sites whose input exceeds float16.
    rescale: ``auto``, ``off``, a power of two such as ``2^-3``, or empty for the zoo file's choice.
    aim: the aim of ``auto``.

    Raises
    ------
    UnknownNameError: for a key that is not in the zoo, or an unknown frontend.
    CheckpointError: for a checkpoint that cannot be read.
    ExportError, ConversionError: if the model cannot be converted.
    """
    from ane_rms.guards import FLOAT16_MAX, peak_cautions
    from harness.convert.conversion import convert
    from harness.export import export
    from harness.measure.calibration import Calibration
    from harness.zoo.rescale_choice import factor
    from harness.zoo.subject import subject_of

    spec, checkpoint = subject_of(key)
    exported = export(spec, frontend=frontend, checkpoint=checkpoint)
    choice = rescale or ("auto" if checkpoint is not None else spec.rescale)
    calibration = Calibration(exported.runs)

    def asked(function: ExportedModel) -> Any:
        if choice == "auto":
            return calibration.rescaling(function, aim)
        return calibration.watching(function) if choice == "off" else factor(choice)

    measures = calibrate or choice != "off"
    report = ane_rms.report(convert(exported, variant, axes=axes, rescale=asked if measures else None).model)
    if not calibrate:
        return Explained(report)
    after = {name: one.factor for one in report.rescaled for name in one.values}
    peaks = calibration.peaks()
    rows = tuple((name, peak, peak * after.get(name, 1.0), calibration.ceiling(name)) for name, peak in peaks.items())
    inputs = {name: new for name, _, new, ceiling in rows if ceiling == FLOAT16_MAX}
    row_norm = max((norm * after.get(name, 1.0) for name, norm in calibration.row_norms().items()), default=None)
    return Explained(replace(report, warnings=report.warnings + peak_cautions(inputs)), rows, row_norm)


def of_package(path: Path, *, axes: str = "last") -> ane_rms.FusionReport:
    """Return the report of a package: the stored one, or one of the norms in its program and those that would fuse.

    Raises
    ------
    PackageError: if there is no package, or it cannot be read.
    """
    try:
        return ane_rms.report(path, axes=axes)
    except (OSError, ValueError) as error:
        said = squeezed(error)
        raise PackageError(said if said.startswith(str(path)) else f"{path}: {said}") from None
