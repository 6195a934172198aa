"""Find the constants of a program that only one op reads.

A tied table of embeddings is read by the gather and by the head. Scaling it for only one of them would make a second
table; multiplying the few gathered rows is cheaper.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ane_rms import mil

if TYPE_CHECKING:
    import numpy.typing as npt

    from ane_rms.mil import Op, Program, Var

SMALL_ELEMENTS = 1 << 10
"""Constants with fewer elements, 2 KiB of float16, may be duplicated."""
SAMPLED = 64
"""Number of elements at each end that are compared before two constants are compared completely."""


class Sharing:
    """The large constants of a program that are read more than once, or stored in it more than once."""

    def __init__(self, program: Program) -> None:
        self._first: dict[Any, list[Var]] = {}
        for block in mil.blocks(program):
            for op in block.operations:
                value = op.outputs[0].val if op.op_type == "const" else None
                if isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.size >= SMALL_ELEMENTS:
                    self._first.setdefault(_sample(value), []).append(op.outputs[0])

    def may_scale(self, op: Op, var: Var) -> bool:
        """Return whether scaling ``var`` for ``op`` alone makes no second copy of a large constant."""
        value = np.asarray(var.val)
        if value.size < SMALL_ELEMENTS:
            return True
        if any(reader is not op for reader in var.child_ops) or var.consuming_blocks:
            return False
        others = (other for other in self._first.get(_sample(value), ()) if other is not var and other.child_ops)
        return not any(_same(value, np.asarray(other.val)) for other in others)


def _sample(value: npt.NDArray[Any]) -> tuple[Any, ...]:
    flat = value.reshape(-1) if value.flags.c_contiguous else value.flat
    ends = np.concatenate([flat[:SAMPLED], flat[-SAMPLED:]])
    return (value.dtype.str, value.shape, ends.tobytes())


def _same(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> bool:
    return a.__array_interface__["data"] == b.__array_interface__["data"] or bool(np.array_equal(a, b))
