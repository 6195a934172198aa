r"""Lower ``ane_rms_norm`` to ops that Core ML knows.

``common::lower_ane_rms_norm_to_layer_norm``: for ``CPU_AND_NE``, by one of :mod:`ane_rms.passes.strategies`. The
default rests on

.. math::  \operatorname{mean}([x, -x]) = 0, \qquad \operatorname{var}([x, -x]) = \operatorname{mean}(x^2)

so that the first half of ``LayerNorm([x, -x])`` is ``x / sqrt(mean(x^2) + eps)``: RMSNorm exactly, epsilon unchanged.
Source: Anemll, https://x.com/anemll/status/1942432672007192928.

``common::expand_ane_rms_norm``: for every compute unit, expands what is left into primitives, so that a hand-written
``mb.ane_rms_norm`` converts wherever it is.

Both require nothing, and ensure that no ``ane_rms_norm`` is left where they act. Values are equal up to rounding to
the stored types. A norm whose lowering fails is expanded, and becomes a miss with the exception's text. One that the
lowering does not support is expanded with a warning.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from coremltools.converters.mil.mil.passes.pass_registry import register_pass

from ane_rms import mil
from ane_rms.attempt import Failure, attempt
from ane_rms.guards import has_enumerated_shapes
from ane_rms.passes.choice import choose, norm_of
from ane_rms.passes.contract import ContractPass, none_stands, standing
from ane_rms.passes.primitives import Unlowerable, primitives
from ane_rms.passes.strategies import DEFAULT_STRATEGY, STRATEGIES
from ane_rms.passes.units import targets_neural_engine
from ane_rms.replacing import rewrite_each
from ane_rms.report import Caution, FusionReport, Miss, keep_report, kept_report

if TYPE_CHECKING:
    from collections.abc import Callable

    from ane_rms.passes.lowering_traits import Build


@register_pass(namespace="common")
class lower_ane_rms_norm_to_layer_norm(ContractPass):
    """Lower every ``ane_rms_norm`` by one strategy.

    Options
    -------
    compute_units: a ``ct.ComputeUnit`` or its name. Only ``CPU_AND_NE`` acts; unset leaves the program as it is.
    for_ane: whether to act for every compute unit, unset among them.
    lowering: the strategy's name, a key of :data:`ane_rms.passes.strategies.STRATEGIES`.
    family: for ``auto``, the family of Neural Engine; None for all of them.
    row_norms: for ``auto``, the largest norm of a row in calibration, by the name of the site or of its input; None
    without calibration.
    """

    compute_units: Any = None
    for_ane: bool = False
    lowering: str = DEFAULT_STRATEGY
    family: Any = None
    row_norms: Any = None

    def rewrite(self, prog: mil.Program) -> bool:
        """Lower in place."""
        if not self._acts():
            return False
        report, ops = kept_report(prog) or FusionReport(), standing(prog)
        build = self._choosing(prog) if self.lowering == "auto" else STRATEGIES[self.lowering].build

        def lowered(op: mil.Op) -> mil.Var:
            nonlocal report
            value = _lowered(op, build)
            if isinstance(value, (Failure, Unlowerable)):
                report = _without(report, op, value, self.lowering)
                return primitives(op)
            return value

        rewrite_each(ops, lowered)
        if ops and kept_report(prog) is not None:
            keep_report(prog, report)
        return bool(ops)

    def ensures(self, prog: mil.Program) -> str:
        """Return a sentence on an ``ane_rms_norm`` that is left although the pass acts, or ``""``."""
        return none_stands(prog) if self._acts() else ""

    def _acts(self) -> bool:
        return targets_neural_engine(self.compute_units, for_ane=self.for_ane)

    def _choosing(self, prog: mil.Program) -> Build:
        """Return the strategy that chooses a lowering for each norm."""
        enumerated, seen = has_enumerated_shapes(prog), self.row_norms or {}

        def build(op: mil.Op) -> mil.Var:
            known = (seen[name] for name in (_name_of(op), op.outputs[0].name, op.x.name) if name in seen)
            chosen = choose(norm_of(op, next(known, None)), self.family, enumerated=enumerated)
            return STRATEGIES[chosen.lowering].build(op)

        return build


def _lowered(op: mil.Op, build: Callable[[mil.Op], mil.Var]) -> mil.Var | Failure | Unlowerable:
    """Return the value that replaces ``op``, or the reason why there is none."""

    def built() -> mil.Var | Unlowerable:
        try:
            return build(op)
        except Unlowerable as error:
            return error

    return attempt(built)


def _name_of(op: mil.Op) -> str:
    """Return the name of an op's site; that of its value if no fusion has processed the program."""
    return str(op.outputs[0].name if op.site is None else op.site.name)


def _without(report: FusionReport, op: mil.Op, why: Failure | Unlowerable, lowering: str) -> FusionReport:
    """Return the report with one site expanded: a warning if the lowering does not support it, else a miss."""
    if isinstance(why, Unlowerable):
        reason = f"lowering={lowering!r} {why}: it is expanded into primitives"
        return replace(report, warnings=(*report.warnings, Caution(_name_of(op), reason)))
    value = op.outputs[0]
    miss = Miss(
        name=_name_of(op),
        op_type=op.op_type,
        reason=f"lowering={lowering!r} failed with {why.text}",
        shape=mil.shape(value),
        module=mil.module_path(op),
        production="lowering",
        broken_by=value.name,
        broken_by_type=op.op_type,
    )
    kept = tuple(site for site in report.fused if site is not op.site)  # another function may have one of this name
    return replace(report, fused=kept, missed=(*report.missed, miss))


@register_pass(namespace="common")
class expand_ane_rms_norm(ContractPass):
    """Expand every ``ane_rms_norm`` into primitives, for every compute unit."""

    def rewrite(self, prog: mil.Program) -> bool:
        """Expand in place."""
        ops = standing(prog)
        rewrite_each(ops, primitives)
        return bool(ops)

    def ensures(self, prog: mil.Program) -> str:
        """Return a sentence on an ``ane_rms_norm`` that is left, or ``""``."""
        return none_stands(prog)
