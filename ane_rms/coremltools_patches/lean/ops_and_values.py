"""Speed up the questions that coremltools repeatedly asks about each op and value of a program."""

from __future__ import annotations

import copy
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from coremltools.converters.mil.mil import Function, Operation
from coremltools.converters.mil.mil.block import Block
from coremltools.converters.mil.mil.utils import CacheDoublyLinkedList
from coremltools.converters.mil.mil.var import InternalVar, Var

from ane_rms.coremltools_patches.guard import Patch, digest
from ane_rms.coremltools_patches.in_every_thread import InEveryThread

if TYPE_CHECKING:
    from ane_rms.coremltools_patches.guard import Key


def patches() -> list[Patch | InEveryThread]:
    """Return the replacements of methods."""
    return [
        InEveryThread(
            Operation,
            "get_flattened_inputs",
            "c60cbdb2fc0bdaf3",
            lambda _: _flattened_inputs,
            "a dictionary of an op's inputs is made each time they are listed",
        ),
        Patch(
            Block,
            "_propagate_nonreplaceable_vars",
            "cb2a2fc0f0365468",
            _propagate_if_any,
            "each pass empties the sets of every value and finds them empty again, where no weight is compressed",
        ),
    ]


def _flattened_inputs(op: Any) -> list[Any]:
    flat: list[Any] = []
    for given in op._input_vars.values():  # noqa: SLF001 - the property ``inputs`` reads it
        if isinstance(given, (list, tuple)):
            flat.extend(given)
        elif given is not None and not isinstance(given, InternalVar):
            flat.append(given)
    return flat


def _propagate_if_any(original: Any) -> Any:
    checked: dict[int, Any] = {}

    def propagate(block: Any) -> None:
        # The first call empties the sets of an earlier conversion. After that, only compressed weights fill a set.
        plain = isinstance(block, Function) and not _compressed(block)
        if not plain or checked.get(id(block)) is not block:
            original(block)
        if plain:
            checked[id(block)] = block
        else:
            checked.pop(id(block), None)

    return propagate


def _compressed(block: Any) -> bool:
    """Return whether a block contains an op of a compressed weight."""
    operations = block.operations
    ops = operations.op_to_node if isinstance(operations, CacheDoublyLinkedList) else operations
    kinds = set(map(type, ops))
    if any(kind.__name__.startswith("constexpr_") for kind in kinds):
        return True
    if not any(kind.__name__ in HOLDING_BLOCKS for kind in kinds):
        return False
    return any(_compressed(inner) for op in ops for inner in op.blocks)


HOLDING_BLOCKS = ("cond", "while_loop")
"""The types of op that contain blocks."""


class Scopes:
    """Replaces the property ``Var.scopes``; its setter copies lists of names without :mod:`copy`."""

    owner: Any = Var
    attribute = "scopes"
    known = "476dfad4bf3adb14"

    def objection(self, original: Any) -> str:
        """Return why the property must not be replaced; "" if it may be."""
        if isinstance(original, property) and digest(original.fset) == self.known:
            return ""
        return "Var.scopes is not the one known; converting without this: scopes of values are copied object by object"

    def inert(self, original: Any, key: Key) -> Any:  # noqa: ARG002 - the copy is the same in every thread
        """Return the property with the faster copy."""

        def set_scopes(var: Any, scopes: Any) -> None:
            if var.op is None:
                original.fset(var, scopes)  # raises
            var.op.scopes = _copied(scopes)

        return property(original.fget, set_scopes, original.fdel, original.__doc__)

    def active(self, original: Any, outer: Any) -> Any:  # noqa: ARG002 - nothing to switch on
        """Return a mark."""
        return True


def _copied(scopes: Any) -> Any:
    """Return the same as :func:`copy.deepcopy` for a dictionary of lists of names."""
    kind = type(scopes)
    if kind not in (dict, defaultdict) or not all(
        type(names) is list and all(name is None or type(name) in (str, int) for name in names)
        for names in scopes.values()
    ):
        return copy.deepcopy(scopes)
    found = {source: names.copy() for source, names in scopes.items()}
    return found if kind is dict else defaultdict(scopes.default_factory, found)
