"""Choose the norms of a finished program to rebuild, and replace the ops that compute them by lowered ops."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ane_rms.grammar import LoweredNorm, RmsNorm
from ane_rms.package.emit import Wanted, emit
from ane_rms.package.splice import splice
from ane_rms.passes.strategies import DEFAULT_STRATEGY, STRATEGIES

if TYPE_CHECKING:
    from ane_rms.package.graph import BlockView, ProgramView
    from ane_rms.package.storage import Storage
    from ane_rms.scan import Scan


def build(view: ProgramView, wanted: list[Wanted], lowering: str, storage: Storage) -> None:
    """Replace the ops that compute norms by lowered ops."""
    for name, block in view.functions.items():
        for inner in reversed(_inner_blocks(block)):
            mine = [one for one in wanted if one.value.op is not None and one.value.op.enclosing_block is inner]
            if mine:
                names = view.names[name]
                emitted = emit(mine, lowering=lowering, opset=view.opsets[name], names=names, storage=storage)
                splice(inner, mine, emitted, names)


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
        wanted += [raised(norm) for norm in found.lowered if _differs(norm, lowering)]
    return wanted


def _differs(norm: LoweredNorm, lowering: str) -> bool:
    """Return whether an already lowered norm has another form than that of ``lowering``."""
    without_gamma = STRATEGIES[lowering].folds_gamma and norm.gamma is None
    return norm.form != (DEFAULT_STRATEGY if without_gamma else lowering)


def raised(norm: LoweredNorm) -> Wanted:
    """Return an already lowered norm as a norm to be built."""
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
    return Wanted(whole, norm.value, norm.permutation)
