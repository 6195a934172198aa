"""Choose the norms of a finished program to rebuild, and replace the ops that compute them by lowered ops."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from ane_rms.attempt import Failure, attempt
from ane_rms.grammar import LoweredNorm, Refusal, RmsNorm
from ane_rms.package.emit import SmallProgram, Wanted, emit, small_program
from ane_rms.package.splice import splice
from ane_rms.passes.strategies import DEFAULT_STRATEGY, STRATEGIES
from ane_rms.report import Caution, Miss
from ane_rms.scan import miss_of

if TYPE_CHECKING:
    from ane_rms.package.graph import BlockView, ProgramView
    from ane_rms.package.storage import Storage
    from ane_rms.scan import Scan


@dataclass(slots=True)
class Outcome:
    """The norms that a rewrite has lowered, and remarks on the others."""

    built: list[Wanted] = field(default_factory=list)
    missed: list[Miss] = field(default_factory=list)
    warnings: list[Caution] = field(default_factory=list)


def build(view: ProgramView, wanted: list[Wanted], lowering: str, storage: Storage) -> Outcome:
    """Replace the ops that compute norms by lowered ops.

    A norm is a transaction: one whose building raises stays as it is, and is a miss with the exception's text. One
    that is lowered already stays as it is if ``lowering`` does not support it.
    """
    outcome = Outcome()
    for name, block in view.functions.items():
        for inner in reversed(_inner_blocks(block)):
            mine = _of_block(wanted, inner)
            small = _buildable(mine, lowering, view.opsets[name], outcome) if mine else None
            if small is not None:
                names = view.names[name]
                splice(inner, small.wanted, emit(small, names=names, storage=storage), names)
                expanded = {miss.name for miss in small.report.missed}
                outcome.built += [one for one in small.wanted if one.value.name not in expanded]
                outcome.missed += small.report.missed
                outcome.warnings += small.report.warnings
    return outcome


def _of_block(wanted: list[Wanted], block: BlockView) -> list[Wanted]:
    """Return the norms of a block, in the order of its ops."""
    places = {id(op): at for at, op in enumerate(block.operations)}
    return sorted((one for one in wanted if id(one.value.op) in places), key=lambda one: places[id(one.value.op)])


def _buildable(mine: list[Wanted], lowering: str, opset: str, outcome: Outcome) -> SmallProgram | None:
    """Return the program of the norms of a block that can be built, and record the others; None if there are none."""
    whole = attempt(lambda: small_program(mine, lowering=lowering, opset=opset))
    if isinstance(whole, SmallProgram) and not _degraded(whole):
        return whole
    kept = []
    for one in mine:
        alone = attempt(partial(small_program, [one], lowering=lowering, opset=opset))
        if isinstance(alone, Failure):
            outcome.missed.append(_failed(one, alone))
        elif _degraded(alone):
            reason = f"lowering={lowering!r} does not support it: it stays lowered as {one.form}"
            outcome.warnings.append(Caution(one.value.name, reason))
        else:
            kept.append(one)
    return small_program(kept, lowering=lowering, opset=opset) if kept else None


def _degraded(small: SmallProgram) -> bool:
    """Return whether a norm that is lowered already would become primitives, because a lowering does not support it."""
    expanded = {one.name for one in small.report.missed} | {one.name for one in small.report.warnings}
    return any(one.form and one.value.name in expanded for one in small.wanted)


def _failed(one: Wanted, failure: Failure) -> Miss:
    """Return the miss of a norm that could not be built."""
    reason = f"building the lowered norm failed with {failure.text}"
    op = one.value.op if one.value.op is not None else one.norm.op
    miss = miss_of(Refusal(reason, op, "lowering", root=one.norm.roots[0]))
    return replace(miss, name=one.value.name)


def _inner_blocks(block: BlockView) -> list[BlockView]:
    """Return a block and its inner blocks, each before its own inner blocks."""
    found = [block]
    for op in block.operations:
        for inner in op.blocks:
            found += _inner_blocks(inner)
    return found


def wanted_norms(found: Scan, lowering: str | None) -> list[Wanted]:
    """Return the norms to build: those that would fuse and, if a lowering is given, those in another form."""
    wanted = [Wanted(norm, norm.op.outputs[0]) for norm in found.norms]
    if lowering is not None:
        wanted += [one for norm in found.lowered if _differs(norm, lowering) for one in raised(norm)]
    return wanted


def _differs(norm: LoweredNorm, lowering: str) -> bool:
    """Return whether an already lowered norm has another form than that of ``lowering``."""
    without_gamma = STRATEGIES[lowering].folds_gamma and norm.gamma is None
    return norm.form != (DEFAULT_STRATEGY if without_gamma else lowering)


def raised(norm: LoweredNorm) -> list[Wanted]:
    """Return an already lowered norm as norms to be built, one for each value that is read of it."""
    return [_raised(one) for one in (norm, *norm.also)]


def _raised(norm: LoweredNorm) -> Wanted:
    whole = RmsNorm(
        op=norm.op,
        x=norm.x,
        axes=norm.axes,
        gamma=norm.gamma,
        after=None,
        epsilon=norm.epsilon,
        spelling=norm.form,
        kind="rms_norm",
        deviation_bound=0.0,
        roots=(norm.op,),
        interior=norm.interior,
    )
    return Wanted(whole, norm.value, norm.permutation, norm.form)
