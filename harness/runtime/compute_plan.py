"""Where Core ML plans to run each op of a program, and what that adds up to. Planned, not traced.

``MLComputePlan`` (macOS 14.4) names, for each op, the device Core ML prefers, those that could run it, and the op's
share of the estimated work. Nothing says that the device did run it: Core ML may fall back while predicting.
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
"""Names of devices in records and tables, the one the project is about first."""

KERNELS = ("layer_norm", "l2_norm", "rsqrt", "sqrt", "pow", "inverse", "real_div")
"""Types of the op that stands for a norm: the first of these met, walking back from the norm's result."""

PARTS = ("layer_norm", "l2_norm", "root", "rms")
"""What `ane_rms` calls the kernel of a lowered norm, behind the norm's own name."""

CAST_SUFFIX = "_cast_fp16"
"""What coremltools appends to the name of a value that it makes float16."""


class PlannedOp(msgspec.Struct, frozen=True):
    """One op of a program, constants left out."""

    op_type: str
    """Without the opset's prefix: ``layer_norm``."""
    output: str
    """Name of its first result."""
    preferred: str
    """One of :data:`DEVICES`; ``unknown`` where Core ML does not say."""
    supported: tuple[str, ...] = ()
    cost: float | None = None
    """Share of the estimated work of the whole program, 0 to 1."""
    inputs: tuple[str, ...] = ()
    """Names of the values it reads."""
    function: str = "main"


def summarize(ops: Sequence[PlannedOp], norms: Iterable[str] = ()) -> Placement:
    """Add up a plan.

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
    """Return how often consecutive ops of a function are on different devices; ops of unknown place do not count."""
    known = [op for op in ops if op.preferred != "unknown"]
    return sum(
        first.preferred != second.preferred and first.function == second.function
        for first, second in itertools.pairwise(known)
    )


def norm_kernels(ops: Sequence[PlannedOp], norms: Iterable[str]) -> Iterator[PlannedOp]:
    """Yield, for each norm found in the plan, the op that stands for it."""
    producers = {op.output.removesuffix(CAST_SUFFIX): op for op in ops} | {op.output: op for op in ops}
    for name in norms:
        written = stored_name(name)
        parts = (producers.get(f"{written}_{part}") for part in PARTS)
        # What is lowered names its parts; in a plain program the kernel is what the result was made of.
        kernel = next(filter(None, parts), None) or _first_kernel(producers.get(written), producers)
        if kernel is not None:
            yield kernel


def stored_name(name: str) -> str:
    """Return a value's name as coremltools stores it in a package: letters, digits, underscores."""
    written = re.sub(r"[^a-zA-Z0-9_]", "_", name)
    return f"var_{written}" if written[:1].isdigit() else written


def _first_kernel(last: PlannedOp | None, producers: dict[str, PlannedOp]) -> PlannedOp | None:
    """Walk back breadth first, to the nearest kernel; KERNELS' own order decides between equally near ones."""
    layer = [last] if last is not None else []
    for _ in range(6):  # no lowering puts more ops between its kernel and its result
        found = [op for op in layer if op.op_type in KERNELS]
        if found:
            return min(found, key=lambda op: KERNELS.index(op.op_type))
        layer = [producers[name] for op in layer for name in op.inputs if name in producers]
    return None


def moved(before: Sequence[PlannedOp], after: Sequence[PlannedOp]) -> list[tuple[str, str, int, int]]:
    """Return (op type, device, count before, count after), where the counts differ."""
    counts = [Counter((op.op_type, op.preferred) for op in ops) for ops in (before, after)]
    keys = sorted({*counts[0], *counts[1]})
    return [(*key, counts[0][key], counts[1][key]) for key in keys if counts[0][key] != counts[1][key]]
