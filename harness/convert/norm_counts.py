"""Count norms site by site, and check the counts that a variant must have.

Fusion is counted by sites, not by op names: several models without any RMSNorm contain ``layer_norm`` and ``concat``.
Three independent counts must agree: the zoo file's formula, the norm modules executed (forward hooks on the PyTorch
model), and the sites in the program.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import ane_rms
from ane_rms import mil
from ane_rms.passes.lower import lower_ane_rms_norm_to_layer_norm
from ane_rms.passes.strategies import STRATEGIES
from ane_rms.scan import scan
from harness.convert.conversion import Converted, difference
from harness.records.schema import RescaledRecord, SiteRecord

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ane_rms.grammar import LoweredNorm
    from harness.export import ExportedModel
    from harness.plan.variants import Variant


@dataclass(frozen=True, slots=True)
class Counts:
    """The norms of one converted model, summed over all of its functions."""

    norms_expected: int
    norms_executed: int
    report: ane_rms.FusionReport
    """The norms that the conversion reports as fused; empty for a plain conversion."""
    unfused: tuple[ane_rms.Site, ...]
    """RMSNorms that a scan of the finished program finds unfused."""
    misses: tuple[ane_rms.Miss, ...]
    """Near misses, each with its reason."""
    lowered: int
    """RMSNorms and L2 norms that are lowered in the finished program, in any form."""
    passes_lowered: int
    """Those of them that the lowering pass of ``ane_rms`` made."""

    @property
    def fused(self) -> int:
        """RMSNorms that the conversion reports as fused, without L2 norms, which are not modules of the model."""
        return sum(site.kind == "rms_norm" for site in self.report.fused)

    @property
    def by_hand(self) -> int:
        """RMSNorms that the model's own code lowers, without L2 norms."""
        return sum(site.kind == "rms_norm" for site in self.report.lowered)

    @property
    def missed(self) -> int:
        """Unfused sites in the finished program, and near misses."""
        return len(self.unfused) + len(self.misses)

    def fields(self) -> dict[str, Any]:
        """Return the counts as fields of a record."""
        return {
            "norms_expected": self.norms_expected,
            "norms_executed": self.norms_executed,
            "fused": self.fused,
            "missed": self.missed,
            "sites": tuple(site_records(self)),
            "rescaled": tuple(RescaledRecord(**asdict(one)) for one in self.report.rescaled),
            "warnings": tuple(f"{warning.name}: {warning.reason}" for warning in self.report.warnings if warning.name),
        }


def count(converted: Converted, exported: ExportedModel, *, variant: Variant, lowering: str) -> Counts:
    """Count the norms of a converted model by all three methods.

    Parameters
    ----------
    converted: the model in this variant and lowering.
    exported: the exported model that it was converted from.
    variant: off, on or cpu.
    lowering: strategy of the variant ``on``; empty for other variants.
    """
    executed = sum(call.kind == "rms_norm" for function in exported.functions for call in function.norms)
    report = ane_rms.report(converted.model) if variant.through == "ane_rms.convert" else ane_rms.FusionReport()
    second = ane_rms.find(converted.program)
    return Counts(
        norms_expected=exported.norms_expected * len(exported.functions),
        norms_executed=executed + exported.norms_written_out * len(exported.functions),
        report=report,
        unfused=second.fused if not lowering or STRATEGIES[lowering].squares_stay_inside else (),
        misses=report.missed if lowering else second.missed,
        lowered=lowered_sites(converted.program),
        passes_lowered=sum(map(_made_by_the_pass, scan(converted.program, any_axes=True).lowered)),
    )


def lowered_sites(program: Any) -> int:
    """Count the norms that are lowered in a MIL program, or in a view of one, by hand or by a conversion."""
    return len(scan(program, any_axes=True).lowered)


def _made_by_the_pass(norm: LoweredNorm) -> bool:
    return lower_ane_rms_norm_to_layer_norm.__name__ in mil.pass_names(norm.value.op)


def verdict(
    counts: Counts, converted: Converted, plain: Converted, *, variant: Variant, lowering: str, control: bool
) -> str:
    """Return "" if every requirement of a variant holds, else a sentence on those that fail, naming the sites."""
    problems = []
    if counts.norms_executed != counts.norms_expected:
        problems.append(
            f"{counts.norms_executed} RMSNorm modules are executed, the zoo file's formula says {counts.norms_expected}"
        )
    fused, sites = counts.fused, len(counts.report.fused)
    if variant.name == "on":
        # If the number of fused norms is right, a near miss with its reason is not an error.
        known = fused + counts.by_hand
        if known != counts.norms_expected or counts.unfused or (control and counts.misses):
            problems.append(f"{fused} of {counts.norms_expected} norms fused{_named(counts)}")
        told = sites + len(counts.report.lowered)
        if lowering and STRATEGIES[lowering].doubles_axis and counts.lowered != told:
            problems.append(f"{told} norms reported fused or lowered, {counts.lowered} stand lowered in the program")
    elif sites or counts.passes_lowered:
        problems.append(f"{max(sites, counts.passes_lowered)} norms fused, none should be for {variant.compute_units}")
    if variant.name == "cpu" and (found := difference(plain, converted)):
        problems.append(f"the program is not the one plain ct.convert makes: {found}")
    return "; ".join(problems)


def _named(counts: Counts) -> str:
    """Name the unfused sites, and the reported sites where none is expected."""
    named = [f"{site.name} ({site.module or site.spelling}): not fused" for site in counts.unfused]
    named += [f"{miss.name} ({miss.module or miss.op_type}): {miss.reason}" for miss in counts.misses]
    if counts.fused > counts.norms_expected:
        named += [f"{site.name} ({site.module or site.spelling}): fused" for site in counts.report.fused]
    return f": {'; '.join(named)}" if named else "; nothing else in the program looks like one"


def site_records(counts: Counts) -> Iterator[SiteRecord]:
    """Yield the fused sites, then the unfused ones, then the near misses."""
    for sites, fused in ((counts.report.fused, True), (counts.unfused, False)):
        for site in sites:
            yield SiteRecord(
                name=site.name,
                module=site.module,
                fused=fused,
                spelling=site.spelling,
                shape=site.shape,
                axes=site.axes,
                epsilon=site.epsilon,
                has_gamma=site.has_gamma,
                deviation_bound=site.deviation_bound,
            )
    for miss in counts.misses:
        yield SiteRecord(
            name=miss.name,
            module=miss.module,
            fused=False,
            spelling=miss.op_type,
            shape=miss.shape,
            reason=miss.reason,
        )
