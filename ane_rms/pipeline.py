"""Which compute units, and where in coremltools' pipeline the passes sit.

The passes stand in the main pipeline right after the first ``common::const_elimination``: casts, no-ops and constant
arithmetic are folded there, and nothing is float16 yet. Everything goes through coremltools' public
``pass_pipeline=`` argument; :func:`install` is the one place that swaps ``coremltools.convert``, reversibly.
"""

from __future__ import annotations

import inspect
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import coremltools as ct

from ane_rms.coremltools_patches.bfloat16 import reading_bfloat16
from ane_rms.coremltools_patches.lean import leaner
from ane_rms.coremltools_patches.torch_frontend import reading_rms_norm
from ane_rms.passes.fuse import check_axes
from ane_rms.passes.strategies import DEFAULT_STRATEGY, check_strategy
from ane_rms.passes.units import targets_neural_engine, units_name
from ane_rms.report import METADATA_KEY, FusionReport, kept_report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ANCHOR = "common::const_elimination"
FUSE = "common::fuse_rms_norm"
LOWER = "common::lower_ane_rms_norm_to_layer_norm"
EXPAND = "common::expand_ane_rms_norm"
CAST = "common::add_fp16_cast"
RESTORE = "common::restore_rms_norm_epsilon"

_original: Callable[..., Any] = ct.convert


def pipeline(
    compute_units: ct.ComputeUnit | str | None,
    base: ct.PassPipeline | None = None,
    *,
    lowering: str = DEFAULT_STRATEGY,
    axes: str = "last",
) -> ct.PassPipeline:
    """Return a pass pipeline with the passes that ``compute_units`` call for, for ``ct.convert(pass_pipeline=...)``.

    ``torch.nn.RMSNorm`` with ``eps=None``, or in a float16 module, needs :func:`convert`: no pass can mend what
    coremltools' frontend made of it.

    Parameters
    ----------
    compute_units: as given to ``ct.convert``; fusing and lowering are for ``CPU_AND_NE`` alone.
    base: the pipeline to extend, left as it is. Default: coremltools' own default.
    lowering: the strategy's name.
    axes: ``"last"``, or ``"any"`` to fuse norms over trailing axes or a single inner axis as well.

    Raises
    ------
    ValueError: for an unknown lowering, compute unit or choice of axes.
    """
    return _pipeline(compute_units, base, lowering=lowering, axes=axes, float16=True)


def _pipeline(
    compute_units: ct.ComputeUnit | str | None, base: ct.PassPipeline | None, *, lowering: str, axes: str, float16: bool
) -> ct.PassPipeline:
    check_strategy(lowering)
    check_axes(axes)
    start = ct.PassPipeline() if base is None else base
    names = [name for name in start.passes if name not in (FUSE, LOWER, EXPAND, RESTORE)]
    at = names.index(ANCHOR) + 1 if ANCHOR in names else 0
    acting = targets_neural_engine(compute_units)
    names[at:at] = [FUSE, LOWER, EXPAND] if acting else [EXPAND]
    if acting and CAST in names:
        names.insert(names.index(CAST) + 1, RESTORE)
    result = ct.PassPipeline(names, start.pipeline_name)
    result.set_options_by_another_pipeline(start)
    if acting:
        units, epsilons = units_name(compute_units), dict[str, float]()
        fusing = {"compute_units": units, "axes": axes, "lowering": lowering, "float16": float16}
        lowered = {"compute_units": units, "lowering": lowering, "epsilons": epsilons}
        for name, options in ((FUSE, fusing), (LOWER, lowered), (RESTORE, {"epsilons": epsilons})):
            result._pass_options.pop(name, None)  # noqa: SLF001 - a base of ours has options, overriding which warns
            if name in names:
                result.set_options(name, options)
    return result


def convert(
    model: Any, *, lowering: str = DEFAULT_STRATEGY, axes: str = "last", lean: bool = False, **kwargs: Any
) -> ct.models.MLModel:
    """Convert as ``ct.convert`` does, with every RMSNorm fused and lowered for ``compute_units=CPU_AND_NE``.

    For other compute units the program is the one ``ct.convert`` gives. The fusion report is stored in the package
    (see :func:`ane_rms.report`).

    Parameters
    ----------
    model: what ``ct.convert`` takes.
    lowering: the strategy's name.
    axes: ``"last"``, or ``"any"`` to fuse norms over trailing axes or a single inner axis as well.
    lean: whether to do without coremltools' copies of each weight; the package is the same
        (see :mod:`ane_rms.coremltools_patches.lean`).
    **kwargs: those of ``ct.convert``.

    Raises
    ------
    ValueError: for an unknown lowering or choice of axes; and what ``ct.convert`` raises.
    """
    units = kwargs.get("compute_units")
    float16 = kwargs.get("compute_precision") != ct.precision.FLOAT32
    chosen = _pipeline(units, kwargs.pop("pass_pipeline", None), lowering=lowering, axes=axes, float16=float16)
    reading = reading_rms_norm(any_axes=axes == "any") if targets_neural_engine(units) else nullcontext()
    with reading_bfloat16(), reading, leaner() if lean else nullcontext():
        converted = _original(model, pass_pipeline=chosen, **kwargs)
    if not isinstance(converted, ct.models.MLModel):
        if lean and isinstance(converted, ct.converters.mil.mil.Program):
            converted.validate()  # the last pass of a lean conversion is not followed by a validation
        return converted  # convert_to="milinternal" gives a program, which holds no metadata
    program = converted._mil_program  # noqa: SLF001 - the only way to the program of a converted model
    found = (kept_report(program) if program is not None else None) or FusionReport(compute_units=units_name(units))
    converted.user_defined_metadata[METADATA_KEY] = found.to_json()
    if kwargs.get("package_dir") is not None:
        _rewrite_spec(Path(kwargs["package_dir"]), converted)
    return converted


def _rewrite_spec(package: Path, converted: ct.models.MLModel) -> None:
    """Write the specification again into a package that ct.convert has saved before the metadata was known."""
    root = ct.libmodelpackage.ModelPackage(str(package)).getRootModel().path()
    Path(root).write_bytes(converted._spec.SerializeToString())  # noqa: SLF001 - get_spec() copies every weight


def _installed_convert(model: Any, *args: Any, **kwargs: Any) -> Any:
    """Stand in for ``coremltools.convert``: same arguments, by position too."""
    bound = inspect.signature(_original).bind(model, *args, **kwargs)
    arguments = dict(bound.arguments)
    arguments.pop("model")
    return convert(model, **arguments)


def install() -> None:
    """Make plain ``ct.convert`` do what :func:`convert` does. Doing it twice is doing it once."""
    global _original  # noqa: PLW0603 - one process has one ct.convert
    if ct.convert is not _installed_convert:
        _original = ct.convert
        ct.convert = _installed_convert


def uninstall() -> None:
    """Put back the very function that :func:`install` replaced. Without an install it does nothing.

    Raises
    ------
    RuntimeError: if something else has replaced ``ct.convert`` since: putting ours back would undo that.
    """
    if ct.convert is _installed_convert:
        ct.convert = _original
    elif ct.convert is not _original:
        raise RuntimeError(
            "coremltools.convert was replaced by something else after ane_rms.install(); undo that first"
        )


@contextmanager
def installed() -> Iterator[None]:
    """Have :func:`install` in effect within a ``with`` block; afterwards, ``ct.convert`` is what it was before."""
    before = ct.convert
    install()
    try:
        yield
    finally:
        ct.convert = before
