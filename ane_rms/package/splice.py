"""Put new ops in the place of old ones in a serialised block, and drop what this leaves without a reader.

Only the ops that a norm was made of are ever dropped: what had no reader before stays as it was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ane_rms.package.emit import Emitted, Wanted
    from ane_rms.package.graph import BlockView, OpView, VarView

WRITES = ("write_state", "coreml_update_state", "print")
"""Ops that do something beside computing a value."""


def splice(block: BlockView, wanted: Sequence[Wanted], emitted: Emitted, names: set[str]) -> None:
    """Replace values of a block by what was emitted for them.

    Parameters
    ----------
    block: the view of the block, whose protobuf is changed. Inner blocks have been spliced before.
    wanted: the norms, and the values that they replace.
    emitted: their ops, in the same order.
    names: every name that the function uses; those given here are added.
    """
    _rename_what_stays(wanted, names)
    instead = {id(one.value.op): ops for one, ops in zip(wanted, emitted.ops, strict=True)}
    dropped = _unread(block, wanted, emitted)
    made: list[Any] = list(emitted.constants)
    for op in block.operations:
        made.extend(instead.get(id(op), ()))
        if id(op) not in dropped:
            made.append(op.proto)
    del block.proto.operations[:]
    block.proto.operations.extend(made)


def _unread(block: BlockView, wanted: Sequence[Wanted], emitted: Emitted) -> set[int]:
    """Return the ids of the ops that nothing reads any more."""
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
    """Give another name to a result that is replaced while others of the same op may still be read."""
    for one in wanted:
        op = one.value.op
        for declared in op.proto.outputs if op is not None and len(op.outputs) > 1 else ():
            if declared.name == one.value.name:
                declared.name = unused(f"{one.value.name}_replaced", names)


def unused(name: str, names: set[str]) -> str:
    """Return ``name``, numbered where it is used already, and add it to ``names``."""
    found, number = name, 0
    while found in names:
        number += 1
        found = f"{name}_{number}"
    names.add(found)
    return found
