"""Count the ops that a lowering makes of one norm, and the bytes they read and write."""

from __future__ import annotations

from functools import cache
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.measure.one_norm import one_norm

if TYPE_CHECKING:
    from ane_rms import FusionReport


def of_report(report: FusionReport, lowering: str) -> tuple[int, int] | None:
    """Return (ops, bytes) of all fused sites, or None if a site's shape is not known before run time."""
    costs = []
    for site in report.fused:
        if not all(isinstance(n, int) for n in site.shape):
            return None
        shape = tuple(int(n) for n in site.shape)
        costs.append(of_norm(shape, site.axes, lowering, has_gamma=site.has_gamma))
    return sum(ops for ops, _ in costs), sum(size for _, size in costs)


@cache
def of_norm(shape: tuple[int, ...], axes: tuple[int, ...], lowering: str, *, has_gamma: bool) -> tuple[int, int]:
    """Return (ops, bytes) of one norm in float16.

    Bytes are those that each op reads and writes, including constants: the traffic without any further fusion.
    """
    gamma = np.full([shape[axis] for axis in axes], 0.5) if has_gamma else None
    lowered = one_norm(shape, gamma, 1e-5, lowering=lowering, dtype=np.float16, axes=axes, convert_to="milinternal")
    ops = [op for op in lowered["main"].operations if op.op_type != "const"]
    return len(ops), sum(_bytes(op) for op in ops)


def _bytes(op: Any) -> int:
    values = [*op.outputs]
    for given in op.inputs.values():
        values.extend(given if isinstance(given, (list, tuple)) else [given])
    return sum(2 * prod(value.shape) for value in values if value.dtype.__name__ == "fp16")
