"""``common::rescale_float16_range``: scale values beyond float16 by powers of two, where weights and norms allow it.

RMSNorm is invariant to the scale of its input. A residual stream that only norms read can therefore be scaled as a
whole, through the weights that write it and the epsilons of the norms; the program's outputs stay the same. See
:mod:`ane_rms.rescaling`.

Precondition: norms are ``ane_rms_norm``, as ``common::fuse_rms_norm`` leaves them. Postcondition: the program's outputs
and states are the same numbers, and a program in which nothing was scaled is unchanged.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from coremltools.converters.mil.mil.passes.graph_pass import AbstractGraphPass
from coremltools.converters.mil.mil.passes.pass_registry import register_pass

from ane_rms.guards import epsilon_caution
from ane_rms.passes.units import targets_neural_engine
from ane_rms.report import FusionReport, keep_report, kept_report
from ane_rms.rescaling.account import left_alone, rescaled
from ane_rms.rescaling.factors import give
from ane_rms.rescaling.magnitudes import Rescaling, check_rescale, measured
from ane_rms.rescaling.planning import plan_factor, plan_peaks, plan_sums
from ane_rms.rescaling.survey import Survey

if TYPE_CHECKING:
    from ane_rms import mil
    from ane_rms.rescaling.factors import Changes


@register_pass(namespace="common")
class rescale_float16_range(AbstractGraphPass):
    """Bring the values of a program into float16's range.

    Options
    -------
    compute_units: a ``ct.ComputeUnit`` or its name. Only ``CPU_AND_NE`` acts; unset leaves the program as it is.
    for_ane: whether to act for every compute unit.
    rescale: None, a power of two, a callable, or a :class:`ane_rms.Rescaling`, as for ``ane_rms.convert``.
    """

    compute_units: Any = None
    for_ane: bool = False
    rescale: Any = None

    def apply(self, prog: mil.Program) -> None:
        """Rescale in place, and add the changes to the program's report."""
        if targets_neural_engine(self.compute_units, for_ane=self.for_ane):
            rescale_program(prog, self.rescale)


def rescale_program(prog: mil.Program, rescale: Any) -> None:
    """Rescale a program whose norms are ``ane_rms_norm``, and add the changes to its report.

    Raises
    ------
    ValueError, TypeError: for an invalid rescale or invalid magnitudes; the program is then unchanged.
    """
    asked = check_rescale(rescale)
    if asked is None:
        return
    survey, magnitudes = Survey(prog), {}
    if isinstance(asked, Rescaling):
        magnitudes = measured(prog, asked.measure)
        plan = (plan_sums if asked.aim == "sums" else plan_peaks)(prog, magnitudes, survey)
    else:
        plan = plan_factor(prog, asked, survey)
    parts = [(exponent, values) for exponent, values in plan.parts if exponent]
    entries = [rescaled(exponent, values, magnitudes) for exponent, values in parts]
    entries += [left_alone(one, magnitudes) for one in plan.left]
    if not entries:
        return
    changes = give(plan.exponents, survey)
    found = kept_report(prog) or FusionReport()
    warnings = (*found.warnings, *_cautions(changes))
    keep_report(prog, replace(found, rescaled=tuple(one(changes) for one in entries), warnings=warnings))


def checked_rescale(rescale: Any) -> Any:
    """Return ``rescale`` if it is valid.

    Raises
    ------
    ValueError, TypeError: otherwise, in one line.
    """
    check_rescale(rescale)
    return rescale


def _cautions(changes: Changes) -> list[Any]:
    found = (epsilon_caution(name, before, after) for name, before, after in changes.epsilons)
    return [one for one in found if one is not None]
