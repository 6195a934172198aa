"""Validate a block in one walk.

coremltools walks a block four times and counts the uses of each value with dictionaries. Here one walk finds whether
everything that it checks holds. If something does not, or the block holds other blocks, coremltools' own validation
runs and names the error.
"""

from __future__ import annotations

from typing import Any

from coremltools.converters.mil.mil import Function, block
from coremltools.converters.mil.mil.block import Block
from coremltools.converters.mil.mil.var import InternalVar

from ane_rms.coremltools_patches.in_every_thread import InEveryThread


def patches() -> list[InEveryThread]:
    """Return the replacement."""
    return [
        InEveryThread(
            Block,
            "validate",
            "fad8243006fc32cf",
            _validate,
            "a block is walked four times to validate it",
            {"_check_vars_visibility_in_block": "8fdf16e3198aaa42"},
        )
    ]


def _validate(original: Any) -> Any:
    def validate(
        self: Any,
        force_validate: bool | None = False,  # noqa: FBT001, FBT002 - theirs
        check_essential_scope: bool | None = False,  # noqa: FBT001, FBT002 - theirs
    ) -> None:
        if not force_validate and not block.DEBUG:
            return
        if not is_consistent(self):
            original(self, force_validate, check_essential_scope)
        elif check_essential_scope:
            self._check_has_scope_info()

    return validate


def is_consistent(checked: Any) -> bool:
    """Return whether a block without inner blocks passes coremltools' validation, apart from its ops' scopes.

    Each value must be defined before its uses (in a function), know the ops that use it as often as they do, and be an
    output of exactly the blocks that it names.
    """
    visible = set(checked.inputs.values()) if isinstance(checked, Function) else None
    internal: set[Any] = set()
    uses: dict[Any, int] = {}
    for op in checked.operations:
        if op.blocks or op.outputs is None:
            return False
        given = _inputs(op, internal)
        for var in given:
            hidden = visible is not None and var not in visible and var not in checked._internal_vars  # noqa: SLF001
            if hidden or var.child_ops.count(op) != given.count(var):
                return False
            uses[var] = uses.get(var, 0) + 1
        for var in op.outputs:
            if any(var not in consumer.outputs for consumer in var.consuming_blocks):
                return False
        if visible is not None:
            visible.update(op.outputs)
    # Each use is known to its value; with as many ops known as uses, no other op is.
    if any(len(var.child_ops) != uses.get(var, 0) for op in checked.operations for var in op.outputs):
        return False
    if any(checked not in var.consuming_blocks for var in checked.outputs):
        return False
    return bool(internal == checked._internal_vars)  # noqa: SLF001 - as coremltools compares them


def _inputs(op: Any, internal: set[Any]) -> list[Any]:
    """Return an op's inputs as one list, and add its internal ones to a set."""
    flat: list[Any] = []
    for given in op._input_vars.values():  # noqa: SLF001 - the property ``inputs`` reads it
        if isinstance(given, (list, tuple)):
            flat.extend(given)
        elif isinstance(given, InternalVar):
            internal.add(given)
        elif given is not None:
            flat.append(given)
    return flat
