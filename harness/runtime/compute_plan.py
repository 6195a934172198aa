"""Summarise the devices on which Core ML plans to run the ops of a program. This is a plan, not a trace.

``MLComputePlan`` (macOS 14.4) names, for each op, the device Core ML prefers, those that could run it, and the op's
share of the estimated work. It does not show that the device ran the op: Core ML may fall back while predicting.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from harness.records.machine import Placement

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

DEVICES = ("ane", "gpu", "cpu", "unknown")
"""Names of devices in records and tables, the Neural Engine first."""

KERNELS = ("layer_norm", "l2_norm", "rsqrt", "sqrt", "pow", "inverse", "real_div")
"""Types of the op that represents a norm: the first of these types found when walking back from its result."""

PARTS = ("layer_norm", "l2_norm", "root", "rms")
"""The suffix that `ane_rms` appends to a norm's name to name the kernel of its lowering."""

CAST_SUFFIX = "_cast_fp16"
"""The suffix that coremltools appends to the name of a value that it casts to float16."""


class PlannedOp(msgspec.Struct, frozen=True):
    """One op of a program; constants are not listed."""

    op_type: str
    """The op's type without the opset's prefix, such as ``layer_norm``."""
    output: str
    """Name of its first result."""
    preferred: str
    """One of :data:`DEVICES`; ``unknown`` if Core ML does not say."""
    supported: tuple[str, ...] = ()
    cost: float | None = None
    """Share of the estimated work of the whole program, 0 to 1."""
    inputs: tuple[str, ...] = ()
    """Names of the values it reads."""
    function: str = "main"


def summarize(ops: Sequence[PlannedOp], norms: Iterable[str] = ()) -> Placement:
    """Return the totals of a plan.

    Parameters
    ----------
    ops: in program order.
    norms: names of the norms' results, as ``ane_rms`` reports them.
    """
    count = Counter(op.preferred for op in ops)
    cost = {device: sum(op.cost or 0.0 for op in ops if op.preferred == device) for device in DEVICES}
    total = sum(cost.values())
    return Placement(
        ops={device: count[device] for device in DEVICES if count[device]},
        cost={device: cost[device] / total for device in DEVICES if cost[device]} if total else {},
        norms=dict(Counter(op.preferred for op in norm_kernels(ops, norms))),
        hand_offs=hand_offs(ops),
    )


def hand_offs(ops: Sequence[PlannedOp]) -> int:
    """Return how often consecutive ops of a function are on different devices, not counting ops of unknown device."""
    known = [op for op in ops if op.preferred != "unknown"]
    return sum(
        first.preferred != second.preferred and first.function == second.function
        for first, second in itertools.pairwise(known)
    )


def norm_kernels(ops: Sequence[PlannedOp], norms: Iterable[str]) -> Iterator[PlannedOp]:
    """Yield, for each norm found in the plan, the op that represents it."""
    producers = {op.output.removesuffix(CAST_SUFFIX): op for op in ops} | {op.output: op for op in ops}
    for name in norms:
        written = stored_name(name)
        parts = (producers.get(f"{written}_{part}") for part in PARTS)
        # A lowering names its parts. In a plain program the kernel is found among the ops that the result depends on.
        kernel = next(filter(None, parts), None) or _first_kernel(producers.get(written), producers)
        if kernel is not None:
            yield kernel


def stored_name(name: str) -> str:
    """Return a value's name as coremltools stores it in a package: letters, digits, underscores."""
    written = re.sub(r"[^a-zA-Z0-9_]", "_", name)
    return f"var_{written}" if written[:1].isdigit() else written


def _first_kernel(last: PlannedOp | None, producers: dict[str, PlannedOp]) -> PlannedOp | None:
    """Walk back breadth first to the nearest kernel; the order of KERNELS decides between equally near ones."""
    layer = [last] if last is not None else []
    for _ in range(6):  # no lowering puts more ops between its kernel and its result
        found = [op for op in layer if op.op_type in KERNELS]
        if found:
            return min(found, key=lambda op: KERNELS.index(op.op_type))
        layer = [producers[name] for op in layer for name in op.inputs if name in producers]
    return None


def moved(before: Sequence[PlannedOp], after: Sequence[PlannedOp]) -> list[tuple[str, str, int, int]]:
    """Return (op type, device, count before, count after) for the pairs whose counts differ."""
    counts = [Counter((op.op_type, op.preferred) for op in ops) for ops in (before, after)]
    keys = sorted({*counts[0], *counts[1]})
    return [(*key, counts[0][key], counts[1][key]) for key in keys if counts[0][key] != counts[1][key]]
