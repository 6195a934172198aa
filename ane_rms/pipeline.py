"""Insert the passes into coremltools' pipeline, with options for the compute units.

The passes are in the main pipeline right after the first ``common::const_elimination``, where casts, no-ops and
constant arithmetic are folded and nothing is float16 yet. The pipeline is passed through coremltools' public
``pass_pipeline=`` argument.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import coremltools as ct

from ane_rms.coremltools_patches.removals import removed_by_name
from ane_rms.passes.fuse import check_axes
from ane_rms.passes.rescale import checked_rescale
from ane_rms.passes.strategies import DEFAULT_STRATEGY, STRATEGIES
from ane_rms.passes.units import targets_neural_engine, units_name

ANCHOR = "common::const_elimination"
FUSE = "common::fuse_rms_norm"
RESCALE = "common::rescale_float16_range"
LOWER = "common::lower_ane_rms_norm_to_layer_norm"
EXPAND = "common::expand_ane_rms_norm"
CAST = "common::add_fp16_cast"
RESTORE = "common::restore_rms_norm_epsilon"
OWN = (FUSE, RESCALE, LOWER, EXPAND, RESTORE)
"""The passes that :func:`pipeline` inserts."""

_SETTINGS = "_ane_rms_settings"
"""The attribute of a pipeline made here that holds its :class:`Settings`."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The options of one pipeline, and the ``ane_rms`` passes that it was made with."""

    compute_units: str = ""
    """The name of the compute units; empty if they are not known."""
    lowering: str = DEFAULT_STRATEGY
    axes: str = "last"
    for_ane: bool = False
    """Whether the passes act for every compute unit."""
    rescale: Any = None
    """A power of two, or a callable that measures magnitudes; None for no rescale."""
    added: tuple[str, ...] = ()
    """The ``ane_rms`` passes that the pipeline was made with, which show which ones a user has removed."""


def pipeline(
    compute_units: ct.ComputeUnit | str | None = None,
    base: ct.PassPipeline | None = None,
    *,
    lowering: str | None = None,
    axes: str | None = None,
    for_ane: bool = False,
    rescale: Any = None,
) -> ct.PassPipeline:
    """Return a pass pipeline for ``ct.convert(pass_pipeline=...)``, with the passes that ``compute_units`` require.

    ``torch.nn.RMSNorm`` with ``eps=None``, or in a float16 module, needs :func:`convert`, because no pass can repair
    its translation by coremltools' frontend.

    Parameters
    ----------
    compute_units: as given to ``ct.convert``; fusing and lowering are only for ``CPU_AND_NE``. If it is omitted, the
    options are kept for :func:`convert`, which knows the units of its call.
    base: the pipeline to extend, which is not changed. Default: coremltools' own default. An ``ane_rms`` pass that
    was removed from a pipeline made here stays removed.
    lowering: the strategy's name. Default: that of ``base``, else ``"layer_norm"``.
    axes: ``"last"``, or ``"any"`` to fuse norms over trailing axes or a single inner axis as well. Default: that of
        ``base``, else ``"last"``.
    for_ane: whether to fuse and lower for every compute unit.
    rescale: None, a power of two, or a callable; see :func:`ane_rms.convert`. Default: that of ``base``.

    Raises
    ------
    ValueError: for an unknown lowering, compute unit or choice of axes, and for a rescale that is no power of two.
    """
    asked = settings(base, compute_units, lowering=lowering, axes=axes, for_ane=for_ane, rescale=rescale)
    return extended(base, asked)


def settings(
    base: ct.PassPipeline | None,
    compute_units: ct.ComputeUnit | str | None,
    *,
    lowering: str | None,
    axes: str | None,
    for_ane: bool,
    rescale: Any = None,
) -> Settings:
    """Return each setting from the caller, else from the options of ``base``, else the one ``base`` was made with.

    Raises
    ------
    ValueError, TypeError: for an unknown lowering, compute unit or choice of axes, and for an invalid rescale.
    """
    made = getattr(base, _SETTINGS, Settings())
    said = units_name(compute_units) or units_name(_option(base, FUSE, "compute_units") or None)
    return Settings(
        compute_units=said or made.compute_units,
        lowering=STRATEGIES.check(lowering or _option(base, LOWER, "lowering") or made.lowering),
        axes=check_axes(axes or _option(base, FUSE, "axes") or made.axes),
        for_ane=for_ane or made.for_ane or bool(_option(base, FUSE, "for_ane")),
        rescale=checked_rescale(made.rescale if rescale is None else rescale),
    )


def _option(base: ct.PassPipeline | None, pass_name: str, option: str) -> Any:
    options = (base.get_options(pass_name) if base is not None else None) or ()
    return next((one.option_val for one in options if one.option_name == option), None)


def removed_from(base: ct.PassPipeline | None) -> frozenset[str]:
    """Return the ``ane_rms`` passes that a user removed from a pipeline made here or, under ``install()``, from any."""
    if base is None:
        return frozenset()
    gone = removed_by_name(base).union(getattr(base, _SETTINGS, Settings()).added)
    return frozenset(name for name in OWN if name in gone and name not in base.passes)


def extended(base: ct.PassPipeline | None, chosen: Settings, *, float16: bool = True) -> ct.PassPipeline:
    """Return ``base`` extended by the ``ane_rms`` passes.

    Parameters
    ----------
    base: the pipeline to extend, which is not changed; None for coremltools' own default.
    chosen: the options of the passes.
    float16: whether the program will compute in float16, for the report's warnings.
    """
    start = ct.PassPipeline() if base is None else base
    unwanted = removed_from(base)
    acting = targets_neural_engine(chosen.compute_units or None, for_ane=chosen.for_ane)
    names = [name for name in start.passes if name not in OWN]
    at = names.index(ANCHOR) + 1 if ANCHOR in names else 0
    wanted = [FUSE, *([RESCALE] if chosen.rescale is not None else []), LOWER, EXPAND] if acting else [EXPAND]
    names[at:at] = [name for name in wanted if name not in unwanted]
    if acting and CAST in names and RESTORE not in unwanted:
        names.insert(names.index(CAST) + 1, RESTORE)
    result = ct.PassPipeline(names, start.pipeline_name)
    result.set_options_by_another_pipeline(start)
    for name, options in (_options(chosen, float16=float16) if acting else {}).items():
        result._pass_options.pop(name, None)  # noqa: SLF001 - a base made here has options; overriding them warns
        if name in names:
            result.set_options(name, options)
    added = tuple(name for name in OWN if name in names or name in unwanted)
    setattr(result, _SETTINGS, replace(chosen, added=added))
    return result


def _options(chosen: Settings, *, float16: bool) -> dict[str, dict[str, Any]]:
    """Return the options of each ``ane_rms`` pass."""
    units = {"compute_units": chosen.compute_units or None, "for_ane": chosen.for_ane, "lowering": chosen.lowering}
    return {
        FUSE: {**units, "axes": chosen.axes, "float16": float16},
        RESCALE: {"compute_units": units["compute_units"], "for_ane": chosen.for_ane, "rescale": chosen.rescale},
        LOWER: units,
    }
