"""``common::fuse_rms_norm``: replace every RMSNorm of a program by one ``ane_rms_norm``.

Requires: every value that is read is in a block. It finds the most norms if casts, no-ops and constant arithmetic are
folded (``1 + w`` is one constant), and if nothing is float16 unless the model is. Ensures: the value at each site is
one ``ane_rms_norm``. Only that last value is replaced, so an intermediate that has other readers stays. Running it
again changes nothing.

A site is a transaction: an exception while building one leaves the site unchanged, and is a miss with its text.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from coremltools import _logger as logger
from coremltools.converters.mil.mil import Builder as mb
from coremltools.converters.mil.mil.passes.pass_registry import register_pass

from ane_rms import mil
from ane_rms.grammar import Refusal
from ane_rms.guards import cautions, has_enumerated_shapes
from ane_rms.op import parameters
from ane_rms.passes.choice import Norm, choose
from ane_rms.passes.contract import ContractPass
from ane_rms.passes.lowering_traits import narrower
from ane_rms.passes.strategies import STRATEGIES
from ane_rms.passes.units import targets_neural_engine, units_name
from ane_rms.replacing import attempt_each, constant
from ane_rms.report import FusionReport, Miss, keep_report, kept_report
from ane_rms.scan import Scan, miss_of, scan

if TYPE_CHECKING:
    import numpy.typing as npt

    from ane_rms.attempt import Failure
    from ane_rms.grammar import RmsNorm
    from ane_rms.report import Site


AXES = ("last", "any")


def check_axes(axes: str) -> str:
    """Return ``axes`` if it is a valid choice of axes.

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
"""The remark if a pipeline is given by the names of passes only."""


@register_pass(namespace="common")
class fuse_rms_norm(ContractPass):
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

    def rewrite(self, prog: mil.Program) -> bool:
        """Fuse in place, and keep the report of the sites."""
        if not self._acts():
            if self.compute_units is None:
                logger.warning(UNSET)
            return False
        found = scan(prog, any_axes=check_axes(self.axes) == "any")
        by_op = {id(norm.op): norm for norm in found.norms}
        for op in found.standing:
            op.site = found.site(op)

        def build(op: mil.Op) -> mil.Var:
            norm = by_op[id(op)]
            return fused(norm, found.site(norm))

        failed = {id(op): failure for op, failure in attempt_each([norm.op for norm in found.norms], build)}
        missed = [_failed(norm, failed[id(norm.op)]) for norm in found.norms if id(norm.op) in failed]
        found.norms = [norm for norm in found.norms if id(norm.op) not in failed]
        report = fusion_report(
            found,
            compute_units=units_name(self.compute_units),
            lowering=self.lowering,
            float16=self.float16,
            enumerated=has_enumerated_shapes(prog),
        )
        keep_report(prog, replace(report, missed=(*report.missed, *missed)))
        return bool(found.norms)

    def requires(self, prog: mil.Program) -> str:
        """Return a sentence on an op that reads a value removed by an earlier pass, or ``""``."""
        ops = [op for block in mil.blocks(prog) for op in block.operations]
        given = [(op, var) for op in ops for var in op.get_flattened_inputs()]
        lost = [(op, var) for op, var in given if var.op is not None and var.op.enclosing_block is None]
        return f"{lost[0][0].name} reads {lost[0][1].name}, which stands in no block" if lost else ""

    def ensures(self, prog: mil.Program) -> str:
        """Return a sentence on an unfused norm that is not a miss, or ``""``."""
        if not self._acts():
            return ""
        report = kept_report(prog) or FusionReport()
        missed = {miss.name for miss in report.missed}
        left = [norm.op.outputs[0].name for norm in scan(prog, any_axes=self.axes == "any").norms]
        left = [name for name in left if name not in missed]
        return f"{left[0]} is an RMSNorm and stands as it was written" if left else ""

    def _acts(self) -> bool:
        return targets_neural_engine(self.compute_units, for_ane=self.for_ane)


def fusion_report(found: Scan, *, compute_units: str, lowering: str, float16: bool, enumerated: bool) -> FusionReport:
    """Return the report of a fusion: its sites, and the cautions about them.

    Parameters
    ----------
    found: the sites.
    compute_units: the name of the compute units.
    lowering: the strategy that lowers the norms; empty if none is known.
    float16: whether the program computes in float16.
    enumerated: whether an input has enumerated shapes.
    """
    report = replace(found.report(), compute_units=compute_units, lowering=lowering, acting=True)
    warnings = cautions(
        report,
        found.largest_gammas(),
        form=lambda site: form_of(site, lowering, enumerated=enumerated),
        doubled=[name for name, one in STRATEGIES.items() if one.doubles_axis],
        narrower=narrower(STRATEGIES),
        folding=[name for name, one in STRATEGIES.items() if one.folds_gamma],
        float16=float16,
        enumerated=enumerated,
    )
    return replace(report, warnings=warnings)


def _failed(norm: RmsNorm, failure: Failure) -> Miss:
    """Return the miss of a site that could not be built."""
    miss = miss_of(Refusal(f"building ane_rms_norm failed with {failure.text}", norm.op, "fusion", root=norm.roots[0]))
    return replace(miss, name=norm.op.outputs[0].name)


def form_of(site: Site, lowering: str, *, enumerated: bool) -> str:
    """Return the lowering of a site: the named one, or the choice of ``auto`` for all families."""
    if lowering != "auto":
        return lowering
    size = site.shape[site.axes[-1]]
    width = size if isinstance(size, int) else None
    return choose(Norm(width, len(site.axes), site.axes[-1] == -1), enumerated=enumerated).lowering


def fused(norm: RmsNorm, site: Site) -> mil.Var:
    """Build the ``ane_rms_norm`` of one match in x's type, and its later multiplications; cast to the result's type.

    A gamma that x's type does not hold, for example 80,000 beside a float16 x, multiplies after the cast.

    Parameters
    ----------
    norm: the match.
    site: its record in the report, which the op carries to the lowering.
    """
    result = norm.op.outputs[0]
    kind = mil.dtype(result)
    gamma, factors = norm.gamma, [] if norm.after is None else [norm.after]
    if gamma is not None and not mil.holds(norm.x, gamma):
        factors, gamma = [_over_axes(norm, gamma), *factors], None
    early, late = ([one for one in factors if mil.holds(norm.x, one) is fits] for fits in (True, False))
    converts = mil.dtype(norm.x) != kind
    steps = 1 + len(factors) + converts + len(norm.others)
    parts = [f"{result.name}_rms_norm", *(f"{result.name}_part_{i}" for i in range(2, steps))]
    names = iter([*parts[: steps - 1], result.name])
    given = parameters(norm.x, norm.epsilon, gamma)
    given |= {"axes": constant(np.array(norm.axes, np.int32)), "epsilon": constant(given["epsilon"])}
    value = mb.ane_rms_norm(x=norm.x, name=next(names), **given)
    value.op.site = site
    for factor in early:
        value = mb.mul(x=value, y=mil.cast_like(norm.x, factor), name=next(names))
    if converts:
        value = mb.cast(x=value, dtype=kind, name=next(names))
    for factor in late:
        value = mb.mul(x=value, y=mil.cast_like(result, factor), name=next(names))
    for other, power in norm.others:
        factor = other if mil.dtype(other) == kind else mb.cast(x=other, dtype=kind)
        combine = mb.mul if power == 1 else mb.real_div
        value = combine(x=value, y=factor, name=next(names))
    return value


def _over_axes(norm: RmsNorm, gamma: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return gamma in a shape that broadcasts along the normalised axes."""
    rank = norm.x.rank
    sizes = dict(zip((axis % rank for axis in norm.axes), gamma.shape, strict=True))
    return gamma.reshape([sizes.get(axis, 1) for axis in range(rank)])
