"""``ane_rms.rewrite``: a finished package with its norms fused and lowered, and everything else as it was.

The package's protobuf is edited in place. Ops of a norm are taken out, lowered ones put in; functions, their shapes and
states, descriptions, metadata and the specification version are not touched, nor is any weight: the weights file is
copied, and small new constants go behind what it holds. So the weights that functions share stay shared, and a package
costs no memory but for its program.

A float16 program has rounded epsilon and gamma already; they are taken as they stand.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import coremltools as ct

from ane_rms import mil
from ane_rms.grammar import RmsNorm
from ane_rms.package.emit import Wanted, emit
from ane_rms.package.files import Opened, open_model, open_package
from ane_rms.package.graph import BlockView, program_view
from ane_rms.package.splice import splice
from ane_rms.package.storage import Storage, weights_file
from ane_rms.package.weights import Weights
from ane_rms.passes.fuse import check_axes, fusion_report
from ane_rms.passes.strategies import DEFAULT_STRATEGY, STRATEGIES
from ane_rms.reading import stored_report
from ane_rms.report import METADATA_KEY, FusionReport
from ane_rms.scan import Scan, scan

if TYPE_CHECKING:
    import os

    from ane_rms.grammar import LoweredNorm


def rewrite(
    model: ct.models.MLModel | str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    *,
    lowering: str | None = None,
    axes: str = "last",
    function: str | None = None,
    compute_units: ct.ComputeUnit = ct.ComputeUnit.CPU_AND_NE,
    skip_model_load: bool = False,
) -> ct.models.MLModel:
    """Fuse and lower the norms of a finished ML program, whoever made it.

    Names, shapes, states, descriptions, metadata, the specification version and every weight stay as they are; the
    fusion report is stored beside the metadata (see :func:`ane_rms.report`).

    Parameters
    ----------
    model: an ``MLModel``, or the path of an ``.mlpackage``; it is not changed.
    output: where the new package is written; nothing may be there. Default: a temporary place, for as long as this
        process runs.
    lowering: the strategy's name. If it is given, norms that stand lowered in another form are rewritten as well.
        Default: ``"layer_norm"``, for those that do not stand lowered.
    axes: ``"last"``, or ``"any"`` to fuse norms over trailing axes or a single inner axis as well.
    function: the one function to rewrite. Default: all.
    compute_units: those that the returned model is loaded for.
    skip_model_load: whether the returned model is not loaded by Core ML, as for ``ct.convert``.

    Raises
    ------
    FileNotFoundError: if there is no package at the path.
    FileExistsError: if something is at ``output``.
    ValueError: in one line: for an unknown lowering, choice of axes or function, or a model that cannot be rewritten
        (a neural network, a pipeline, a compiled or encrypted model).
    """
    STRATEGIES.check(lowering or DEFAULT_STRATEGY)
    check_axes(axes)
    opened = open_model(model) if isinstance(model, ct.models.MLModel) else open_package(Path(model))
    chosen = _Options(lowering, axes, function)
    if output is not None:
        written = write_rewritten(opened, Path(output), chosen)
    else:
        written = write_rewritten(opened, Path(tempfile.mkdtemp(prefix="ane_rms_")) / "rewritten.mlpackage", chosen)
    return ct.models.MLModel(
        str(written), is_temp_package=output is None, compute_units=compute_units, skip_model_load=skip_model_load
    )


@dataclass(frozen=True, slots=True)
class _Options:
    lowering: str | None
    axes: str
    function: str | None


def write_rewritten(opened: Opened, output: Path, options: _Options) -> Path:
    """Write the new package beside its place, and move it there when it is whole.

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
    draft = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))
    try:
        copied = draft / "package"
        shutil.copytree(opened.path, copied, copy_function=shutil.copyfile)
        folder = copied / opened.folder.relative_to(opened.path)
        spec = _rewritten(opened, folder, options)
        _specification(copied, folder, opened).write_bytes(spec.SerializeToString(deterministic=True))
        copied.rename(output)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return output


def _specification(copied: Path, folder: Path, opened: Opened) -> Path:
    """Return the file of the specification in a copy of the package."""
    if opened.specification is not None and opened.path is not None:
        return copied / opened.specification.relative_to(opened.path)
    (found,) = folder.glob("*.mlmodel")
    return found


def _rewritten(opened: Opened, folder: Path, options: _Options) -> Any:
    """Return the new specification; its new constants are added to the weights in ``folder``."""
    spec = ct.proto.Model_pb2.Model()
    spec.CopyFrom(opened.spec)
    functions = spec.mlProgram.functions
    if options.function is not None and options.function not in functions:
        known = ", ".join(sorted(functions))
        raise ValueError(f"{opened.source}: has no function {options.function!r}; it has {known}")
    view = program_view(spec.mlProgram, Weights(opened.folder, opened.source), only=options.function, exact=True)
    storage = Storage(folder, weights_file(spec.mlProgram))
    lowering = options.lowering or DEFAULT_STRATEGY
    found = scan(view, any_axes=options.axes == "any")
    wanted = _wanted(found, options.lowering)
    try:
        for name, block in view.functions.items():
            for inner in reversed(_inner_blocks(block)):
                mine = [one for one in wanted if one.value.op is not None and one.value.op.enclosing_block is inner]
                if mine:
                    emitted = emit(
                        mine, lowering=lowering, opset=view.opsets[name], names=view.names[name], storage=storage
                    )
                    splice(inner, mine, emitted, view.names[name])
    finally:
        storage.close()
    if wanted or stored_report(spec) is None:
        report = _report(found, wanted, lowering, spec)
        spec.description.metadata.userDefined[METADATA_KEY] = report.to_json()
    return spec


def _inner_blocks(block: BlockView) -> list[BlockView]:
    """Return a block and those inside it, each before its own."""
    found = [block]
    for op in block.operations:
        for inner in op.blocks:
            found += _inner_blocks(inner)
    return found


def _wanted(found: Scan, lowering: str | None) -> list[Wanted]:
    """Return the norms to build: those that would fuse, and with a lowering given, those in another form."""
    wanted = [Wanted(norm, norm.op.outputs[0]) for norm in found.norms]
    if lowering is not None:
        wanted += [
            Wanted(_as_norm(norm), norm.value, norm.permutation) for norm in found.lowered if _differs(norm, lowering)
        ]
    return wanted


def _differs(norm: LoweredNorm, lowering: str) -> bool:
    """Return whether a norm that stands lowered would look different by ``lowering``."""
    without_gamma = lowering == "layer_norm_affine" and norm.gamma is None
    return norm.form != ("layer_norm" if without_gamma else lowering)


def _as_norm(norm: LoweredNorm) -> RmsNorm:
    """Return a norm that stands lowered as one that would fuse."""
    return RmsNorm(
        op=norm.op,
        x=norm.x,
        axes=norm.axes,
        gamma=norm.gamma,
        after=None,
        epsilon=norm.epsilon,
        spelling=norm.form,
        kind="rms_norm",
        deviation_bound=0.0,
        roots=(norm.op,),
        interior=norm.interior,
    )


def _report(found: Scan, wanted: list[Wanted], lowering: str, spec: Any) -> FusionReport:
    """Return the report of a rewrite."""
    rewritten = {id(one.value) for one in wanted}
    norms = [one.norm for one in wanted]
    left = [norm for norm in found.lowered if id(norm.value) not in rewritten]
    return fusion_report(
        replace(found, norms=norms, lowered=left),
        compute_units="CPU_AND_NE",
        lowering=lowering,
        float16=any(mil.dtype(norm.x) == "fp16" for norm in norms),
        enumerated=_has_enumerated_shapes(spec.description),
    )


FLEXIBILITY = {"multiArrayType": "ShapeFlexibility", "imageType": "SizeFlexibility"}


def _has_enumerated_shapes(description: Any) -> bool:
    """Return whether an input of a model's description has enumerated shapes."""
    features = [*description.input, *(one for function in description.functions for one in function.input)]
    kinds = [(one.type, str(one.type.WhichOneof("Type"))) for one in features]
    flexible = [getattr(given, kind).WhichOneof(FLEXIBILITY[kind]) for given, kind in kinds if kind in FLEXIBILITY]
    return any(str(one).startswith("enumerated") for one in flexible)
