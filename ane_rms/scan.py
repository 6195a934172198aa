"""Walk a program and find its norm sites: what :mod:`ane_rms.grammar` recognises, and what it nearly does.

Ops are visited from the last to the first, so that the longest product is tried first and takes gamma with it. A
refused product is no miss while a part of it still matches. Where a product was refused, a second visit looks for
norms that something else multiplies, among what no match took; a root that none took then is a miss, with the
innermost reason.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ane_rms import mil
from ane_rms.grammar import LoweredNorm, Refusal, RmsNorm, lowered_norms, rms_norm, rms_norm_within
from ane_rms.report import FusionReport, LoweredSite, Miss, Site

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(slots=True)
class Scan:
    """What a walk found, in program order.

    Norms that would fuse, refusals, ops ``ane_rms_norm`` that stand already, and norms that stand lowered.
    """

    norms: list[RmsNorm] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    standing: list[mil.Op] = field(default_factory=list)
    lowered: list[LoweredNorm] = field(default_factory=list)

    def report(self) -> FusionReport:
        """Return the sites as users read them."""
        return FusionReport(
            fused=tuple(self._sites()),
            missed=tuple(_miss(one) for one in self.refusals),
            lowered=tuple(_lowered_site(norm) for norm in self.lowered),
        )

    def largest_gammas(self) -> dict[str, float]:
        """Return the largest magnitude of gamma, by the site's name."""
        found = {norm.op.outputs[0].name: norm.gamma for norm in self.norms if norm.gamma is not None}
        found |= {op.outputs[0].name: np.asarray(op.gamma.val) for op in self.standing if op.gamma is not None}
        return {name: float(np.max(np.abs(gamma), initial=0.0)) for name, gamma in found.items()}

    def _sites(self) -> Iterator[Site]:
        for norm in self.norms:
            yield Site(
                name=norm.op.outputs[0].name,
                spelling=norm.spelling,
                shape=mil.shape(norm.x),
                axes=norm.axes,
                epsilon=norm.epsilon,
                has_gamma=norm.gamma is not None,
                deviation_bound=norm.deviation_bound,
                module=mil.module_path(norm.op),
            )
        for op in self.standing:
            axes = [int(axis) for axis in np.atleast_1d(op.axes.val)]
            yield Site(
                name=op.outputs[0].name,
                spelling=op.op_type,
                shape=mil.shape(op.x),
                axes=tuple(mil.signed_axis(axis, op.x.rank) for axis in mil.positive_axes(axes, op.x.rank)),
                epsilon=mil.scalar(op.epsilon) or 0.0,
                has_gamma=op.gamma is not None,
                deviation_bound=0.0,
                module=mil.module_path(op),
            )


def _lowered_site(norm: LoweredNorm) -> LoweredSite:
    return LoweredSite(
        name=norm.value.name,
        form=norm.form,
        shape=mil.shape(norm.x),
        axes=norm.axes,
        epsilon=norm.epsilon,
        has_gamma=norm.gamma is not None,
        module=mil.module_path(norm.op),
    )


def _miss(refusal: Refusal) -> Miss:
    assert refusal.op is not None  # noqa: S101 - every refusal that reaches a report names its root
    value = refusal.op.outputs[0]
    return Miss(
        name=value.name,
        op_type=refusal.op.op_type,
        reason=refusal.reason,
        shape=mil.shape(value),
        module=mil.module_path(refusal.op),
    )


def scan(program: mil.Program, *, any_axes: bool = False) -> Scan:
    """Return every norm site of ``program``, which is only read.

    Parameters
    ----------
    program: a MIL program.
    any_axes: whether trailing axes and single inner axes are recognised as well as the last one.
    """
    found = Scan()
    for block in mil.blocks(program):
        ops = list(block.operations)
        norms, refusals = _scan_block(ops, any_axes=any_axes)
        found.norms.extend(norms)
        found.refusals.extend(refusals)
        found.standing.extend(op for op in ops if op.op_type == "ane_rms_norm")
        found.lowered.extend(lowered_norms(ops))
    lowered = {id(op) for norm in found.lowered for op in norm.roots}
    found.norms = [norm for norm in found.norms if id(norm.root) not in lowered]
    roots = {id(norm.root) for norm in found.norms} | lowered
    found.refusals = [one for one in found.refusals if id(one.op) not in roots]
    return found


def _scan_block(ops: list[mil.Op], *, any_axes: bool) -> tuple[list[RmsNorm], list[Refusal]]:
    norms: dict[int, RmsNorm] = {}
    refused: dict[int, Refusal] = {}
    taken: set[int] = set()
    for op in reversed(ops):
        if op.op_type not in ("mul", "real_div") or id(op) in taken:
            continue
        result = rms_norm(op, any_axes=any_axes)
        if isinstance(result, RmsNorm):
            norms[id(op)] = result
            taken.update(id(inner) for inner in result.interior)
        elif isinstance(result, Refusal):
            refused[id(result.op)] = result
    if refused:
        norms |= _scan_within(ops, norms, taken, any_axes=any_axes)
    misses = [one for one in reversed(refused.values()) if not one.is_layer_norm]
    return [norms[id(op)] for op in ops if id(op) in norms], misses


def _scan_within(
    ops: list[mil.Op], norms: dict[int, RmsNorm], taken: set[int], *, any_axes: bool
) -> dict[int, RmsNorm]:
    """Return the norms inside products of which no part is a norm, by the id of the product's last op.

    Parameters
    ----------
    ops: of one block.
    norms: those found in it so far.
    taken: ids of the multiplications that they are made of.
    any_axes: whether trailing axes and single inner axes are recognised as well as the last one.
    """
    found: dict[int, RmsNorm] = {}
    closed = norms.keys() | taken
    for op in reversed(ops):
        if op.op_type not in ("mul", "real_div") or id(op) in closed:
            continue
        norm = rms_norm_within(op, closed, any_axes=any_axes)
        if norm is not None:
            found[id(op)] = norm
            closed.update(id(inner) for inner in norm.interior)
    return found
