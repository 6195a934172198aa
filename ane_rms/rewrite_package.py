"""``ane_rms.rewrite``: fuse and lower the norms of a finished package, and change nothing else.

The package's protobuf is edited in place. The ops of a norm are replaced by lowered ones. Functions, their shapes and
states, descriptions, metadata, the specification version and all weights are unchanged. The weights file is copied, and
new constants are appended to it. Weights that functions share therefore stay shared, and a package takes memory
only for its program and, in a rescale, for the largest weight that is scaled.

A float16 program has rounded epsilon and gamma already; the rounded values are used.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import coremltools as ct

from ane_rms import mil
from ane_rms.mapped_arrays import in_files
from ane_rms.package.draft import draft
from ane_rms.package.files import Opened, open_model, open_package
from ane_rms.package.graph import program_view
from ane_rms.package.norms import Outcome, build, raised, wanted_norms
from ane_rms.package.patch import patched
from ane_rms.package.storage import Storage, weights_file
from ane_rms.package.weights import Weights
from ane_rms.passes.fuse import check_axes, fuse_rms_norm, fusion_report
from ane_rms.passes.lower import lower_ane_rms_norm_to_layer_norm
from ane_rms.passes.rescale import checked_rescale, rescale_program
from ane_rms.passes.strategies import DEFAULT_STRATEGY, STRATEGIES
from ane_rms.reading import stored_report
from ane_rms.report import METADATA_KEY, FusionReport, kept_report
from ane_rms.scan import Scan, scan
from ane_rms.symbols import with_own_symbols


def rewrite(
    model: ct.models.MLModel | str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    *,
    lowering: str | None = None,
    axes: str = "last",
    rescale: Any = None,
    function: str | None = None,
    compute_units: ct.ComputeUnit = ct.ComputeUnit.CPU_AND_NE,
    skip_model_load: bool = False,
) -> ct.models.MLModel:
    """Fuse and lower the norms of a finished ML program from any tool.

    Names, shapes, states, descriptions, metadata, the specification version and every weight are unchanged; the
    fusion report is added to the metadata (see :func:`ane_rms.report`).

    Parameters
    ----------
    model: an ``MLModel``, or the path of an ``.mlpackage``; it is not changed.
    output: the path of the new package, which must not exist. Default: a temporary path that exists until this
    process ends.
    lowering: the strategy's name. If it is given, norms that are lowered in another form are rewritten as well.
    Default: ``"layer_norm"``, for norms that are not lowered.
    axes: ``"last"``, or ``"any"`` to fuse norms over trailing axes or a single inner axis as well.
    rescale: as for :func:`ane_rms.convert`. None scales nothing; a power of two scales the residual stream; a
    callable or an :class:`ane_rms.Rescaling` scales values that exceed float16. Scaled weights are stored anew,
    one at a time; the others are unchanged.
    function: the only function to rewrite. Default: all.
    compute_units: the compute units that the returned model is loaded for.
    skip_model_load: whether Core ML does not load the returned model, as for ``ct.convert``.

    Raises
    ------
    FileNotFoundError: if there is no package at the path.
    FileExistsError: if something is at ``output``.
    ValueError: in one line: for an unknown lowering, choice of axes or function, or a model that cannot be rewritten
        (a neural network, a pipeline, a compiled or encrypted model).
    TypeError: for anything but a model or a path.
    OSError: if the new package cannot be written, for want of space or permission; nothing of it is left.
    """
    STRATEGIES.check(lowering or DEFAULT_STRATEGY)
    check_axes(axes)
    if not isinstance(model, (ct.models.MLModel, str, os.PathLike)):
        raise TypeError(f"rewrite() takes an MLModel or the path of an .mlpackage, not {type(model).__name__}")
    opened = open_model(model) if isinstance(model, ct.models.MLModel) else open_package(Path(model))
    chosen = _Options(lowering, axes, function, checked_rescale(rescale))
    if output is not None:
        written = write_rewritten(opened, Path(output), chosen)
    else:
        own = Path(tempfile.gettempdir()) / f"ane_rms_{uuid.uuid4().hex}.mlpackage"
        written = write_rewritten(opened, own, chosen)
    return ct.models.MLModel(
        str(written), is_temp_package=output is None, compute_units=compute_units, skip_model_load=skip_model_load
    )


@dataclass(frozen=True, slots=True)
class _Options:
    lowering: str | None
    axes: str
    function: str | None
    rescale: Any


def write_rewritten(opened: Opened, output: Path, options: _Options) -> Path:
    """Write the new package beside its final path, and move it there when it is complete.

    Raises
    ------
    FileExistsError: if something is at ``output``.
    ValueError: if the model has no package to copy, or its program cannot be read.
    """
    if output.exists() or output.is_symlink():
        raise FileExistsError(f"{output}: there is something already: give a path where nothing is")
    if not output.parent.is_dir():
        raise FileNotFoundError(f"{output.parent}: no such folder to write {output.name} into")
    if opened.path is None or opened.folder is None:
        raise ValueError(f"{opened.source}: has no package on disk to rewrite: save it first")
    if output.resolve().is_relative_to(opened.path.resolve()):
        raise ValueError(f"{output}: lies inside {opened.path}, which is not changed: give a path outside it")
    with draft(output) as copied:
        _copy(opened.path, copied)
        folder = copied / opened.folder.relative_to(opened.path)
        spec = _rewritten(opened, folder, options)
        _specification(copied, folder, opened).write_bytes(spec.SerializeToString(deterministic=True))
        copied.rename(output)
    return output


def _copy(package: Path, copied: Path) -> None:
    """Copy a package, and raise the first error as one, where ``copytree`` raises a list of all."""
    try:
        shutil.copytree(package, copied, copy_function=shutil.copyfile)
    except shutil.Error as error:
        first = str(error.args[0][0][2])
        known = re.match(r"\[Errno (\d+)\] (.*?)(?:: ['\"]|$)", first)
        raise (OSError(int(known[1]), known[2]) if known else OSError(first)) from None


def _specification(copied: Path, folder: Path, opened: Opened) -> Path:
    """Return the file of the specification in a copy of the package."""
    if opened.specification is not None and opened.path is not None:
        return copied / opened.specification.relative_to(opened.path)
    (found,) = folder.glob("*.mlmodel")
    return found


def _rewritten(opened: Opened, folder: Path, options: _Options) -> Any:
    """Return the new specification, and add its new constants to the weights in ``folder``."""
    spec = ct.proto.Model_pb2.Model()
    spec.CopyFrom(opened.spec)
    functions = spec.mlProgram.functions
    if options.function is not None and options.function not in functions:
        known = ", ".join(sorted(functions))
        raise ValueError(f"{opened.source}: has no function {options.function!r}; it has {known}")
    storage = Storage(folder, weights_file(spec.mlProgram))
    try:
        if options.rescale is None:
            report = _lowered_in_place(spec, opened, storage, options)
        else:
            report = _rescaled(spec, replace(opened, folder=folder), storage, options)
    finally:
        storage.close()
    if report is not None:
        spec.description.metadata.userDefined[METADATA_KEY] = with_own_symbols(report).to_json()
    return spec


def _lowered_in_place(spec: Any, opened: Opened, storage: Storage, options: _Options) -> FusionReport | None:
    """Fuse and lower norms in a specification; return the report, or None if the existing one stays valid."""
    view = program_view(spec.mlProgram, Weights(opened.folder, opened.source), only=options.function, exact=True)
    found = scan(view, any_axes=options.axes == "any")
    wanted = wanted_norms(found, options.lowering)
    lowering = options.lowering or DEFAULT_STRATEGY
    outcome = build(view, wanted, lowering, storage)
    return _report(found, outcome, lowering, spec) if wanted or stored_report(spec) is None else None


def _rescaled(spec: Any, opened: Opened, storage: Storage, options: _Options) -> FusionReport | None:
    """Fuse, rescale and lower norms in a specification through coremltools' MIL, including already lowered norms."""
    view = program_view(spec.mlProgram, Weights(opened.folder, opened.source), only=options.function, exact=True)
    standing = scan(view, any_axes=True).lowered
    build(view, [one for norm in standing for one in raised(norm)], "none", storage)
    storage.close()
    fuse, lower = fuse_rms_norm(), lower_ane_rms_norm_to_layer_norm()
    fuse.compute_units = lower.compute_units = "CPU_AND_NE"
    fuse.lowering = lower.lowering = options.lowering or DEFAULT_STRATEGY
    fuse.axes = "any" if any(norm.axes != (-1,) for norm in standing) else options.axes
    found: list[FusionReport | None] = []

    def change(program: mil.Program) -> None:
        fuse.apply(program)
        rescale_program(program, options.rescale)
        found.append(kept_report(program))
        lower.apply(program)

    with in_files():
        patched(spec, opened, storage, change, options.function)
    return found[0]


def _report(found: Scan, outcome: Outcome, lowering: str, spec: Any) -> FusionReport:
    """Return the report of a rewrite."""
    rewritten = {id(one.value) for one in outcome.built}
    again = {id(one.value) for norm in found.lowered for one in norm.also}
    norms = [one.norm for one in outcome.built if id(one.value) not in again]
    left = [norm for norm in found.lowered if id(norm.value) not in rewritten]
    report = fusion_report(
        replace(found, norms=norms, lowered=left),
        compute_units="CPU_AND_NE",
        lowering=lowering,
        float16=any(mil.dtype(norm.x) == "fp16" for norm in norms),
        enumerated=_has_enumerated_shapes(spec.description),
    )
    return replace(report, missed=(*report.missed, *outcome.missed), warnings=(*report.warnings, *outcome.warnings))


FLEXIBILITY = {"multiArrayType": "ShapeFlexibility", "imageType": "SizeFlexibility"}


def _has_enumerated_shapes(description: Any) -> bool:
    """Return whether an input of a model's description has enumerated shapes."""
    features = [*description.input, *(one for function in description.functions for one in function.input)]
    kinds = [(one.type, str(one.type.WhichOneof("Type"))) for one in features]
    flexible = [getattr(given, kind).WhichOneof(FLEXIBILITY[kind]) for given, kind in kinds if kind in FLEXIBILITY]
    return any(str(one).startswith("enumerated") for one in flexible)
