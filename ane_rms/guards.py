"""Report risks of a fused norm on the device, with the reasons.

This module does not change programs.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import coremltools as ct
import numpy as np

from ane_rms import neural_engine
from ane_rms.report import Caution

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ane_rms import mil
    from ane_rms.report import FusionReport, Site

EPSILON_TOLERANCE = 0.1
"""A relative change of epsilon by float16 beyond this is reported."""

FLOAT16_MAX = float(np.finfo(np.float16).max)
SMALLEST_FLOAT16 = float(np.finfo(np.float16).smallest_subnormal)


def cautions(
    report: FusionReport,
    gammas: Mapping[str, float],
    *,
    form: Callable[[Site], str],
    doubled: Sequence[str],
    narrower: Sequence[str],
    folding: Sequence[str],
    float16: bool,
    enumerated: bool,
) -> tuple[Caution, ...]:
    """Return the cautions of a conversion.

    Parameters
    ----------
    report: the report with the sites.
    gammas: largest magnitude of gamma, by site.
    form: returns the lowering of a site; empty if none is known.
    doubled: names of the lowerings that double the normalised axis.
    narrower: names of the lowerings to use instead, which do not double it.
    folding: names of the lowerings that make gamma a parameter of the layer norm.
    float16: whether the program computes in float16.
    enumerated: whether an input has enumerated shapes.
    """
    return tuple(
        Caution(name=site.name, reason=reason)
        for site in report.fused
        for reason in (
            *(_layer_norm_reasons(site, narrower, enumerated=enumerated) if form(site) in doubled else ()),
            *(_affine_reasons(site) if form(site) in folding else ()),
            *(_float16_reasons(site, gammas.get(site.name, 0.0)) if float16 else ()),
        )
    )


def _layer_norm_reasons(site: Site, narrower: Sequence[str], *, enumerated: bool) -> Iterator[str]:
    size = site.shape[site.axes[-1]]
    limit = neural_engine.limit("extent")
    if isinstance(size, int) and 2 * size > limit:
        instead = " and ".join(f"lowering={name!r}" for name in narrower)
        yield (
            f"the doubled axis has {2 * size:,} elements; a Neural Engine before A16 takes {limit:,.0f}"
            + (f"; {instead} do not double it" if len(narrower) > 1 else f"; {instead} does not double it")
        )
    if enumerated:
        yield (
            "an input has EnumeratedShapes: a layer norm is reported to leave the Neural Engine then; "
            "convert fixed shapes or a RangeDim, and look at the placement"
        )


def _affine_reasons(site: Site) -> Iterator[str]:
    size = site.shape[site.axes[-1]]
    if site.has_gamma and isinstance(size, int) and (below := neural_engine.families_at("one_affine_width", 2 * size)):
        yield (
            f"a layer norm of {2 * size:,} elements whose gamma varies is reported not to compile for the Neural "
            f"Engine of {' and '.join(below)} (ANEForge issues 149, 162, 201); lowering='layer_norm' keeps gamma out"
        )


def _float16_reasons(site: Site, gamma: float) -> Iterator[str]:
    with np.errstate(over="ignore"):
        stored = float(np.float16(site.epsilon)) or (SMALLEST_FLOAT16 if site.epsilon > 0 else 0.0)
    if not math.isclose(stored, site.epsilon, rel_tol=EPSILON_TOLERANCE):
        yield f"epsilon {site.epsilon:g} is {stored:.3g} in float16: rows whose mean square is near it will differ"
    if gamma > FLOAT16_MAX:
        yield f"gamma reaches {gamma:g}, float16 ends at {FLOAT16_MAX:,.0f}: the multiplication stays in float32"


def epsilon_caution(name: str, before: float, after: float) -> Caution | None:
    """Return a caution if a rescale has brought a norm's epsilon below what float16 holds, else None.

    Parameters
    ----------
    name: the site's.
    before, after: epsilon, before and after the rescale.
    """
    if not 0 < after < SMALLEST_FLOAT16:
        return None
    meant = before * SMALLEST_FLOAT16 / after
    reason = (
        f"the rescale makes epsilon {before:g} into {after:.3g}, float16 holds no less than {SMALLEST_FLOAT16:.3g}: "
        f"rows whose mean square was near {meant:.3g} will differ"
    )
    return Caution(name=name, reason=reason)


def peak_cautions(peaks: Mapping[str, float]) -> tuple[Caution, ...]:
    """Return a caution for every site whose input, by calibration data, exceeds float16.

    Parameters
    ----------
    peaks: largest measured magnitude of the input, by site.
    """
    return tuple(
        Caution(
            name=name,
            reason=f"its input reached {peak:,.0f} in calibration, float16 ends at {FLOAT16_MAX:,.0f}: no lowering "
            "helps; rescale='auto' of the harness, or ane_rms.convert(rescale=...), scales what writes it",
        )
        for name, peak in peaks.items()
        if not peak <= FLOAT16_MAX
    )


def has_enumerated_shapes(program: mil.Program) -> bool:
    """Return whether an input of a program has enumerated shapes."""
    return any(
        isinstance(getattr(given, "shape", None), ct.EnumeratedShapes)
        for function in program.functions.values()
        for given in function.input_types or ()
    )
