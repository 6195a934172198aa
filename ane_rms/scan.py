"""Walk a program and find its norm sites: matches of :mod:`ane_rms.grammar`, and near misses.

Ops are visited from the last to the first, so that the longest product is tried first and includes gamma. A rejected
product is reported only if no part of it matches. If products were rejected, a second visit searches the ops without a
match for norms that another value multiplies. Finally, every root of a mean or sum of squares that is in no norm is a
miss, with the reason of the innermost product around it, or that of the root itself.

An exception in examining one product or root is a miss as well, with the exception's text.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ane_rms import mil
from ane_rms.attempt import Failure, attempt
from ane_rms.grammar import (
    LoweredNorm,
    Refusal,
    RmsNorm,
    lowered_norms,
    rms_norm,
    rms_norm_within,
    takes_root,
    unused_root,
)
from ane_rms.grammar.forms import NO_FIXED_SIZE
from ane_rms.report import FusionReport, LoweredSite, Miss, Site

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PRODUCTS = ("mul", "real_div")


@dataclass(slots=True)
class Scan:
    """The results of a walk, in program order.

    They are norms that would fuse, refusals, existing ops ``ane_rms_norm``, and already lowered norms.
    """

    norms: list[RmsNorm] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    standing: list[mil.Op] = field(default_factory=list)
    lowered: list[LoweredNorm] = field(default_factory=list)
    _sites: dict[int, Site] = field(default_factory=dict)

    def site(self, found: RmsNorm | mil.Op) -> Site:
        """Return the record of a norm or of an existing op in the report: one object, however often it is asked for."""
        record = self._sites.get(id(found))
        if record is None:
            record = self._sites[id(found)] = site_of(found) if isinstance(found, RmsNorm) else standing_site(found)
        return record

    def report(self) -> FusionReport:
        """Return the sites as a report."""
        flexible = [op for op in self.standing if not mil.has_fixed_axes(op)]
        return FusionReport(
            fused=(
                *map(self.site, self.norms),
                *(self.site(op) for op in self.standing if op not in flexible),
            ),
            missed=(
                *(miss_of(one) for one in self.refusals),
                *(miss_of(Refusal(NO_FIXED_SIZE, op, "rms_norm", root=op)) for op in flexible),
            ),
            lowered=tuple(lowered_site_of(norm) for norm in self.lowered),
        )

    def largest_gammas(self) -> dict[str, float]:
        """Return the largest magnitude of gamma, by the site's name."""
        found = {norm.op.outputs[0].name: norm.gamma for norm in self.norms if norm.gamma is not None}
        found |= {op.outputs[0].name: np.asarray(op.gamma.val) for op in self.standing if op.gamma is not None}
        return {name: float(np.max(np.abs(gamma), initial=0.0)) for name, gamma in found.items()}


def site_of(norm: RmsNorm) -> Site:
    """Return one match as a report's site."""
    return Site(
        name=norm.op.outputs[0].name,
        spelling=norm.spelling,
        shape=mil.shape(norm.x),
        axes=norm.axes,
        epsilon=norm.epsilon,
        has_gamma=norm.gamma is not None,
        deviation_bound=norm.deviation_bound,
        module=mil.module_path(norm.op),
        kind=norm.kind,
    )


def standing_site(op: mil.Op) -> Site:
    """Return one existing ``ane_rms_norm`` of a program as a report's site."""
    return Site(
        name=op.outputs[0].name,
        spelling=op.op_type,
        shape=mil.shape(op.x),
        axes=tuple(mil.signed_axis(axis, op.x.rank) for axis in mil.axes_of(op)),
        epsilon=mil.scalar(op.epsilon) or 0.0,
        has_gamma=op.gamma is not None,
        deviation_bound=0.0,
        module=mil.module_path(op),
    )


def lowered_site_of(norm: LoweredNorm) -> LoweredSite:
    """Return one already lowered norm as a report's site."""
    return LoweredSite(
        name=norm.value.name,
        form=norm.form,
        shape=mil.shape(norm.x),
        axes=norm.axes,
        epsilon=norm.epsilon,
        has_gamma=norm.gamma is not None,
        module=mil.module_path(norm.op),
        kind="l2_norm" if norm.is_unit else "rms_norm",
    )


def miss_of(refusal: Refusal) -> Miss:
    """Return one refusal as a report's miss, named after the root, with the op at which the match failed."""
    taken = refusal.root if refusal.root is not None else refusal.op
    value, broken = taken.outputs[0], refusal.op
    return Miss(
        name=value.name,
        op_type=taken.op_type,
        reason=refusal.reason,
        shape=mil.shape(value),
        module=mil.module_path(taken),
        production=refusal.production,
        broken_by=broken.outputs[0].name if broken.outputs else broken.name,
        broken_by_type=broken.op_type,
    )


def scan(program: mil.Program, *, any_axes: bool = False) -> Scan:
    """Return every norm site of ``program``, which is only read.

    Parameters
    ----------
    program: a MIL program.
    any_axes: whether trailing axes and single inner axes are recognised as well as the last one.
    """
    found, refused, ops = Scan(), dict[int, Refusal](), list[mil.Op]()
    for block in mil.blocks(program):
        own = list(block.operations)
        ops.extend(own)
        found.norms.extend(_scan_block(own, refused, any_axes=any_axes))
        found.standing.extend(op for op in own if op.op_type == "ane_rms_norm")
        found.lowered.extend(lowered_norms(own, partial(_looked, refused)))
    lowered = {id(root) for norm in found.lowered for root in norm.roots}
    found.norms = [norm for norm in found.norms if lowered.isdisjoint(id(root) for root in norm.roots)]
    taken = lowered.union(id(root) for norm in found.norms for root in norm.roots)
    for op in ops:
        refusal = None if id(op) in taken else refused.get(id(op)) or _unused(op)
        if refusal is not None and not refusal.is_layer_norm:
            found.refusals.append(refusal)
    return found


def _looked(
    refused: dict[int, Refusal], recognise: Callable[[mil.Op], LoweredNorm | Refusal | None], op: mil.Op
) -> LoweredNorm | None:
    """Return what is recognised at an op; record a refusal, or a failure as one, by the id of the root."""
    result = attempt(partial(recognise, op))
    if isinstance(result, Failure):
        result = Refusal(_failed(result), op, "lowered", root=op)
    if isinstance(result, Refusal):
        refused[id(result.root)] = result
        return None
    return result


def _scan_block(ops: list[mil.Op], refused: dict[int, Refusal], *, any_axes: bool) -> Iterator[RmsNorm]:
    """Yield the norms of one block in its order, and record refusals by the id of the root."""
    norms: dict[int, RmsNorm] = {}
    taken: set[int] = set()
    before = len(refused)

    def visit(recognise: Callable[..., RmsNorm | Refusal | None]) -> None:
        for op in reversed(ops):
            if op.op_type not in PRODUCTS or id(op) in taken or id(op) in norms:
                continue
            result = attempt(partial(recognise, op, any_axes=any_axes))
            if isinstance(result, RmsNorm):
                if taken.isdisjoint(id(inner) for inner in result.interior):
                    norms[id(op)] = result
                    taken.update(id(inner) for inner in result.interior)
            elif isinstance(result, Failure):
                refused[id(op)] = Refusal(_failed(result), op, "product", root=op)
            elif result is not None:
                refused[id(result.root)] = result

    visit(rms_norm)
    if len(refused) > before:
        visit(rms_norm_within)
    _end_at_what_norms_read(norms)
    yield from (norms[id(op)] for op in ops if id(op) in norms)


def _end_at_what_norms_read(norms: dict[int, RmsNorm]) -> None:
    """Let a norm end at the value inside it that another norm reads, so that this value is not left in primitives.

    Its factors after that value, a gamma for example, stay multiplications.
    """
    owners = {id(inner): norm for norm in norms.values() for inner in norm.interior}
    for reader in list(norms.values()):
        inner = mil.base(reader.x).op
        owner = owners.get(id(inner))
        if inner is None or owner is None or id(owner.op) not in norms or inner.op_type not in PRODUCTS:
            continue
        shorter = attempt(partial(rms_norm, inner, any_axes=True))
        if isinstance(shorter, RmsNorm) and set(map(id, shorter.roots)) == set(map(id, owner.roots)):
            del norms[id(owner.op)]
            norms[id(inner)] = shorter


def _unused(op: mil.Op) -> Refusal | None:
    """Return why the root that ``op`` takes is part of no norm; None if ``op`` takes no root."""
    result = attempt(lambda: unused_root(op) if takes_root(op) else None)
    return Refusal(_failed(result), op, "root", root=op) if isinstance(result, Failure) else result


def _failed(failure: Failure) -> str:
    return f"looking at it failed with {failure.text}"
