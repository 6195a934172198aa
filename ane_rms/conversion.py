"""``ane_rms.convert``: ``ct.convert`` with the passes in its pipeline and the patches that its frontend needs."""

from __future__ import annotations

import os
from contextlib import nullcontext
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

import coremltools as ct
from coremltools.converters import _converters_entry

from ane_rms.coremltools_patches.bfloat16 import reading_bfloat16
from ane_rms.coremltools_patches.isolation import isolated
from ane_rms.coremltools_patches.lean import leaner
from ane_rms.coremltools_patches.torch_frontend import reading_rms_norm
from ane_rms.idle import idle_report
from ane_rms.pipeline import FUSE, extended, removed_from, settings
from ane_rms.report import METADATA_KEY, kept_report
from ane_rms.several_functions import exporting_every_function
from ane_rms.symbols import with_own_symbols
from ane_rms.tracing import traced
from ane_rms.undoing import setting

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

plain_convert: Callable[..., Any] = _converters_entry.convert
"""The original ``ct.convert``, even if the name has been rebound since."""

UNSET: Mapping[str, Any] = {"source": "auto", "skip_model_load": False, "debug": False}
"""The defaults of ``ct.convert`` that are not None; an argument equal to its default is not passed on."""

REMOVED = f"{FUSE} was removed from the pipeline"
"""The reason given if the passes did not act because a user removed one of them."""

_handed_over: ContextVar[ct.PassPipeline | None] = ContextVar("_handed_over", default=None)
"""The pipeline that an ``ane_rms`` conversion has passed to the function it calls."""


def convert(  # noqa: PLR0913, PLR0917 - the parameters of ct.convert, in its order
    model: Any,
    source: str = "auto",
    inputs: Any = None,
    outputs: Any = None,
    classifier_config: Any = None,
    minimum_deployment_target: Any = None,
    convert_to: str | None = None,
    compute_precision: Any = None,
    skip_model_load: bool = False,  # noqa: FBT001, FBT002 - as ct.convert has it
    compute_units: ct.ComputeUnit | None = None,
    package_dir: Any = None,
    debug: bool = False,  # noqa: FBT001, FBT002 - as ct.convert has it
    pass_pipeline: ct.PassPipeline | None = None,
    states: Any = None,
    *,
    lowering: str | None = None,
    axes: str | None = None,
    lean: bool = False,
    for_ane: bool = False,
    rescale: Any = None,
) -> ct.models.MLModel:
    """Convert as ``ct.convert`` does, with every RMSNorm fused and lowered for ``compute_units=CPU_AND_NE``.

    For other compute units the program is the one ``ct.convert`` gives, unless ``for_ane`` is set. The fusion
    report is stored in the package (see :func:`ane_rms.report`).

    Parameters
    ----------
    model: any model that ``ct.convert`` takes; or a ``torch.nn.Module``, which is traced with zeros of the shapes of
        ``inputs``; or a MIL program of several functions, all of which are converted.
    source, inputs, outputs, classifier_config, minimum_deployment_target, convert_to, compute_precision,
    skip_model_load, compute_units, package_dir, debug, pass_pipeline, states: those of ``ct.convert``, in the same
        order. Options that :func:`pipeline` has put into ``pass_pipeline`` are kept.
    lowering: the strategy's name. Default: that of ``pass_pipeline``, else ``"layer_norm"``.
    axes: ``"last"``, or ``"any"`` to fuse norms over trailing axes or a single inner axis as well. Default: that of
        ``pass_pipeline``, else ``"last"``.
    lean: whether to avoid coremltools' copies of each weight; the package is the same
        (see :mod:`ane_rms.coremltools_patches.lean`).
    for_ane: whether to fuse and lower for every compute unit, including ``ALL``, ``CPU_AND_GPU`` and unset.
    rescale: None scales nothing. A power of two scales the residual stream by it. A callable ``peaks(program)``
        returns the largest magnitude of the program's values by name, and values that exceed float16 are scaled to
        fit; :class:`ane_rms.Rescaling` combines such a callable with an aim. The model's outputs stay the same. See
        :mod:`ane_rms.rescaling`.

    Raises
    ------
    ValueError, TypeError: for an unknown lowering or choice of axes, or an invalid rescale; for a finished model, which
    :func:`ane_rms.rewrite` takes; also the errors of ``ct.convert``.
    """
    given = {
        "source": source,
        "inputs": inputs,
        "outputs": outputs,
        "classifier_config": classifier_config,
        "minimum_deployment_target": minimum_deployment_target,
        "convert_to": convert_to,
        "compute_precision": compute_precision,
        "package_dir": package_dir,
        "states": states,
        "skip_model_load": skip_model_load,
        "debug": debug,
        "compute_units": compute_units,
        "pass_pipeline": pass_pipeline,
    }
    arguments = {name: value for name, value in given.items() if value is not UNSET.get(name)}
    _refuse_finished(model)
    return convert_through(
        plain_convert, model, arguments, lowering=lowering, axes=axes, lean=lean, for_ane=for_ane, rescale=rescale
    )


def _refuse_finished(model: Any) -> None:
    """Refuse a finished model, which ``ct.convert`` does not take, and name the function that does."""
    is_file = isinstance(model, (str, os.PathLike)) and Path(model).suffix in (".mlpackage", ".mlmodel", ".mlmodelc")
    if is_file or isinstance(model, ct.models.MLModel):
        named = str(model) if is_file else "the model"
        raise ValueError(f"{named}: is converted already: ane_rms.rewrite() fuses the norms of a finished ML program")


def convert_through(
    function: Callable[..., Any],
    model: Any,
    arguments: Mapping[str, Any],
    *,
    lowering: str | None = None,
    axes: str | None = None,
    lean: bool = False,
    for_ane: bool = False,
    rescale: Any = None,
) -> Any:
    """Convert as :func:`convert` does, by calling a function with the signature of ``ct.convert``.

    Parameters
    ----------
    function: ``ct.convert``, or a replacement of it; it is called once, with an ``ane_rms`` pipeline.
    model: the model to convert.
    arguments: by name; they are passed on unchanged except for ``pass_pipeline``.
    lowering, axes, lean, for_ane, rescale: those of :func:`convert`.
    """
    arguments = dict(arguments)
    base = arguments.pop("pass_pipeline", None)
    units = arguments.get("compute_units")
    asked = settings(base, units, lowering=lowering, axes=axes, for_ane=for_ane, rescale=rescale)
    model = traced(model, arguments.get("inputs"))
    float16 = arguments.get("compute_precision") != ct.precision.FLOAT32
    chosen = extended(base, asked, float16=float16)
    reading = reading_rms_norm(any_axes=asked.axes == "any") if FUSE in chosen.passes else nullcontext()
    with (
        setting(_handed_over, chosen),
        isolated(model, lambda given: given is chosen or FUSE in getattr(given, "passes", ())),
        reading_bfloat16(),
        reading,
        leaner() if lean else nullcontext(),
        exporting_every_function(model),
    ):
        converted = function(model, pass_pipeline=chosen, **arguments)
    if not isinstance(converted, ct.models.MLModel):
        if lean and isinstance(converted, ct.converters.mil.mil.Program):
            converted.validate()  # a lean conversion does not validate after the last pass
        return converted  # convert_to="milinternal" gives a program, which has no metadata
    program = converted._mil_program  # noqa: SLF001 - the only way to the program of a converted model
    found = kept_report(program) if program is not None else None
    if found is None:
        removed = FUSE in removed_from(base)
        found = idle_report(program, asked.compute_units, axes=asked.axes, why=REMOVED if removed else "")
    converted.user_defined_metadata[METADATA_KEY] = with_own_symbols(found).to_json()
    if arguments.get("package_dir") is not None:
        _rewrite_spec(Path(arguments["package_dir"]), converted)
    return converted


def is_handed_over(pass_pipeline: Any) -> bool:
    """Return whether a pipeline is the one that the running ``ane_rms`` conversion has passed to its function."""
    return pass_pipeline is not None and pass_pipeline is _handed_over.get()


def _rewrite_spec(package: Path, converted: ct.models.MLModel) -> None:
    """Rewrite the specification of a package that ct.convert saved before the metadata was known."""
    root = ct.libmodelpackage.ModelPackage(str(package)).getRootModel().path()
    Path(root).write_bytes(converted._spec.SerializeToString())  # noqa: SLF001 - get_spec() copies every weight
