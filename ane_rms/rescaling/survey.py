"""Survey a program once for its rescale: the order of its ops, their relations, and the constants they share.

A tied table of embeddings is read by the gather and by the head. Scaling it for only one of them would make a second
table; multiplying the few gathered rows is cheaper. Functions that share their weights are scaled alike, so that they
share the scaled weights as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ane_rms import mil
from ane_rms.mapped_arrays import release
from ane_rms.rescaling.scales import relation

if TYPE_CHECKING:
    import numpy.typing as npt

    from ane_rms.mil import Op, Program, Var
    from ane_rms.rescaling.relations import Relation

SMALL_ELEMENTS = 1 << 10
"""Constants with fewer elements, 2 KiB of float16, may be duplicated."""
SAMPLED = 16
"""Number of elements at each end that are compared before two constants are compared completely."""


class Survey:
    """What a rescale needs to know of a program, as it is before any change.

    Attributes
    ----------
    order: the number of each op in program order, inner blocks before the op that contains them.
    """

    def __init__(self, program: Program) -> None:
        self.order: dict[Op, int] = {}
        self._relations: dict[Op, Relation] = {}
        self._first: dict[Any, list[Var]] = {}
        for block in mil.blocks(program):
            for op in block.operations:
                self.order[op] = len(self.order)
                value = op.outputs[0].val if op.op_type == "const" else None
                if isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.size >= SMALL_ELEMENTS:
                    self._first.setdefault(_sample(op.outputs[0]), []).append(op.outputs[0])

    def place(self, var: Var) -> int:
        """Return the number of the op that writes ``var``, -1 for an input."""
        return -1 if var.op is None else self.order[var.op]

    def relation(self, op: Op) -> Relation:
        """Return an op's relation, which is computed once."""
        found = self._relations.get(op)
        if found is None:
            found = self._relations[op] = relation(op)
        return found

    def may_scale(self, op: Op, var: Var) -> bool:
        """Return whether scaling ``var`` for ``op`` alone makes no second copy of a large constant in its function."""
        value = np.asarray(var.val)
        if value.size < SMALL_ELEMENTS:
            return True
        if any(reader is not op for reader in var.child_ops) or var.consuming_blocks:
            return False
        others = (other for other in self._first.get(_sample(var), ()) if other is not var and other.child_ops)
        return not any(_same(value, np.asarray(other.val)) for other in others)


def _sample(var: Var) -> tuple[Any, ...]:
    value = np.asarray(var.val)
    flat = value.reshape(-1) if value.flags.c_contiguous else value.flat
    function = id(mil.root_function(var.op))
    return (function, value.dtype.char, value.shape, flat[:SAMPLED].tobytes(), flat[-SAMPLED:].tobytes())


def _same(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> bool:
    if a.__array_interface__["data"] == b.__array_interface__["data"]:
        return True
    equal = bool(np.array_equal(a, b))
    release(a)
    release(b)
    return equal
