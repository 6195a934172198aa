"""``common::fuse_rms_norm``: replace every RMSNorm of a program by one ``ane_rms_norm``.

Precondition: casts, no-ops and constant arithmetic are folded (``1 + w`` is one constant), nothing is float16 unless
the model is. Postcondition: the value at each site is one ``ane_rms_norm``; only that last value is replaced, so an
intermediate that something else uses stays. Running it again changes nothing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from coremltools import _logger as logger
from coremltools.converters.mil.mil import Builder as mb
from coremltools.converters.mil.mil.passes.graph_pass import AbstractGraphPass
from coremltools.converters.mil.mil.passes.pass_registry import register_pass

from ane_rms import mil
from ane_rms.guards import cautions, has_enumerated_shapes
from ane_rms.op import parameters
from ane_rms.passes.strategies import STRATEGIES, narrower
from ane_rms.passes.units import targets_neural_engine, units_name
from ane_rms.replacing import constant, rewrite_each
from ane_rms.report import FusionReport, keep_report
from ane_rms.scan import Scan, scan

if TYPE_CHECKING:
    from ane_rms.grammar import RmsNorm


AXES = ("last", "any")


def check_axes(axes: str) -> str:
    """Return ``axes`` if it says which axes to fuse.

    Raises
    ------
    ValueError: otherwise.
    """
    if axes not in AXES:
        raise ValueError(f"axes must be one of {', '.join(map(repr, AXES))}; got {axes!r}")
    return axes


UNSET = (
    "ane_rms: common::fuse_rms_norm stands in the pipeline without its option compute_units, which it cannot take from "
    "the call: no norm is fused. Make the pipeline by ane_rms.pipeline(compute_units, base), convert by "
    "ane_rms.convert, or pipeline.set_options('common::fuse_rms_norm', {'for_ane': True}), and the same for "
    "common::lower_ane_rms_norm_to_layer_norm"
)
"""Said where a pipeline is given by the names of passes alone."""


@register_pass(namespace="common")
class fuse_rms_norm(AbstractGraphPass):
    """Fuse RMSNorm spelled in primitives into ``ane_rms_norm``.

    Options
    -------
    compute_units: a ``ct.ComputeUnit`` or its name. Only ``CPU_AND_NE`` acts; unset leaves the program as it is.
    for_ane: whether to act for every compute unit, unset among them.
    axes: ``"last"`` (default), or ``"any"`` to fuse norms over trailing axes or a single inner axis as well.
    lowering: the strategy that will lower the norms, for the report.
    float16: whether the program will compute in float16, for the report's warnings. Default: yes.
    """

    compute_units: Any = None
    for_ane: bool = False
    axes: str = "last"
    lowering: str = ""
    float16: bool = True

    def apply(self, prog: mil.Program) -> None:
        """Fuse in place, and remember the report of what was found."""
        if not targets_neural_engine(self.compute_units, for_ane=self.for_ane):
            if self.compute_units is None:
                logger.warning(UNSET)
            return
        found = scan(prog, any_axes=check_axes(self.axes) == "any")
        found_report = fusion_report(
            found,
            compute_units=units_name(self.compute_units),
            lowering=self.lowering,
            float16=self.float16,
            enumerated=has_enumerated_shapes(prog),
        )
        keep_report(prog, found_report)
        by_op = {id(norm.op): norm for norm in found.norms}
        rewrite_each([norm.op for norm in found.norms], lambda op: fused(by_op[id(op)]))


def fusion_report(found: Scan, *, compute_units: str, lowering: str, float16: bool, enumerated: bool) -> FusionReport:
    """Return the report of a fusion: its sites, and the guard rails that they touch.

    Parameters
    ----------
    found: the sites.
    compute_units: their name.
    lowering: the strategy that lowers the norms; empty if none is known.
    float16: whether the program computes in float16.
    enumerated: whether an input has enumerated shapes.
    """
    report = replace(found.report(), compute_units=compute_units, lowering=lowering, acting=True)
    warnings = cautions(
        report,
        found.largest_gammas(),
        doubles_axis=bool(lowering) and STRATEGIES[lowering].doubles_axis,
        narrower=narrower(),
        float16=float16,
        enumerated=enumerated,
    )
    return replace(report, warnings=warnings)


def fused(norm: RmsNorm) -> mil.Var:
    """Build the ``ane_rms_norm`` of one match, in the type of x, and what is multiplied after; cast to the result's."""
    result = norm.op.outputs[0]
    kind = mil.dtype(result)
    converts = mil.dtype(norm.x) != kind
    steps = 1 + (norm.after is not None) + converts + len(norm.others)
    parts = [f"{result.name}_rms_norm", *(f"{result.name}_part_{i}" for i in range(2, steps))]
    names = iter([*parts[: steps - 1], result.name])
    given = parameters(norm.x, norm.epsilon, norm.gamma)
    given |= {"axes": constant(np.array(norm.axes, np.int32)), "epsilon": constant(given["epsilon"])}
    value = mb.ane_rms_norm(x=norm.x, name=next(names), **given)
    if norm.after is not None:
        value = mb.mul(x=value, y=mil.cast_like(norm.x, norm.after), name=next(names))
    if converts:
        value = mb.cast(x=value, dtype=kind, name=next(names))
    for other, power in norm.others:
        factor = other if mil.dtype(other) == kind else mb.cast(x=other, dtype=kind)
        combine = mb.mul if power == 1 else mb.real_div
        value = combine(x=value, y=factor, name=next(names))
    return value
