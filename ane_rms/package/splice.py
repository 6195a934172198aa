"""Replace ops in a serialised block by new ones, and remove ops that then have no reader.

Only ops that a norm consisted of are removed. Ops that had no reader before are kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ane_rms.package.new_names import unused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ane_rms.package.emit import Emitted, Wanted
    from ane_rms.package.graph import BlockView, OpView, VarView

WRITES = ("write_state", "coreml_update_state", "print")
"""Ops with effects other than computing a value."""


def splice(block: BlockView, wanted: Sequence[Wanted], emitted: Emitted, names: set[str]) -> None:
    """Replace values of a block by the ops emitted for them.

    Parameters
    ----------
    block: the view of the block, whose protobuf is changed. Its inner blocks must be spliced first.
    wanted: the norms, and the values that they replace.
    emitted: the norms' ops, in the same order.
    names: every name that the function uses; new names are added to it.
    """
    _rename_what_stays(wanted, names)
    instead: dict[int, list[Any]] = {}
    for one, ops in zip(wanted, emitted.ops, strict=True):
        instead.setdefault(id(one.value.op), []).extend(ops)
    dropped = _unread(block, wanted, emitted)
    made: list[Any] = list(emitted.constants)
    for op in block.operations:
        made.extend(instead.get(id(op), ()))
        if id(op) not in dropped:
            made.append(op.proto)
    del block.proto.operations[:]
    block.proto.operations.extend(made)


def _unread(block: BlockView, wanted: Sequence[Wanted], emitted: Emitted) -> set[int]:
    """Return the ids of the ops that no longer have a reader."""
    read_anew = {name for names in emitted.reads for name in names}
    replaced = {id(one.value) for one in wanted}
    dropped: set[int] = set()
    pending: list[OpView | None] = [one.value.op for one in wanted]
    while pending:
        op = pending.pop()
        if op is None or id(op) in dropped or op.enclosing_block is not block or op.blocks or op.op_type in WRITES:
            continue
        if any(id(var) not in replaced and _is_read(var, dropped, read_anew) for var in op.outputs):
            continue
        dropped.add(id(op))
        pending.extend(var.op for var in op.given())
    return dropped


def _is_read(var: VarView, dropped: set[int], read_anew: set[str]) -> bool:
    readers = any(id(op) not in dropped for op in var.child_ops)
    return readers or bool(var.consuming_blocks) or var.name in read_anew


def _rename_what_stays(wanted: Sequence[Wanted], names: set[str]) -> None:
    """Rename a replaced result whose op has other results that may still be read."""
    for one in wanted:
        op = one.value.op
        for declared in op.proto.outputs if op is not None and len(op.outputs) > 1 else ():
            if declared.name == one.value.name:
                declared.name = unused(f"{one.value.name}_replaced", names)
