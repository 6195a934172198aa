"""Say why a region cannot be closed, in a sentence that names the op."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from ane_rms.mil import Op
    from ane_rms.rescaling.relations import Relation

STATE_OPS = ("read_state", "coreml_update_state")


def reason(node: tuple[str, Any], relation: Callable[[Op], Relation]) -> str:
    """Return why a node of the graph of :mod:`ane_rms.rescaling.regions` needs its own size.

    Parameters
    ----------
    node: the last node before the sink.
    relation: returns the relation of an op.
    """
    kind, var = node
    if kind == "op":
        return f"{var.op_type} {var.name!r} is a power of a value that exceeds float16 itself"
    if kind == "readers":
        for op in dict.fromkeys(var.child_ops):
            rule = relation(op)
            if any(slot.of(op) is var for slot in rule.fixed):
                return f"{op.op_type} {op.name!r} reads {var.name!r} and needs it at its own size"
            if any(one.slot.of(op) is var for one in rule.factors):
                return f"{op.op_type} {op.name!r} multiplies {var.name!r} with what has no constant to scale"
    if var.consuming_blocks:
        return f"{var.name!r} is an output, which keeps its size"
    if var.op is None:
        return f"{var.name!r} is an input, which comes at its own size"
    if var.op.op_type in STATE_OPS:
        return f"{var.name!r} is a state, which keeps its size"
    if relation(var.op).multiplier is not None:
        return f"{var.op.op_type} {var.op.name!r} writes {var.name!r} from a constant that has other readers"
    return f"{var.op.op_type} {var.op.name!r} writes {var.name!r} and has no constant that could be scaled"
