"""Find values that would break on a family: products near the ceiling, sliced values, epsilons, exponentials.

Hazards that depend on values are judged by calibration, the largest magnitudes of one float32 run. Without a
calibration, a slice that could break is a hazard by its form alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from harness.engine.op_support import items
from harness.interpreter.program import Constant, Ref, walk
from harness.records.predictions import Hazard

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from harness.engine.families import Family
    from harness.interpreter.program import Argument, Function, Op

PRODUCTS = ("linear", "matmul", "conv", "conv_transpose", "einsum")
SLICES = ("slice_by_index", "slice_by_size")
ROOTS = ("sqrt", "rsqrt")
NEAR = 0.5
"""A product whose calibrated peak is above this share of the ceiling is reported: other inputs may reach further."""

EXP_LIMIT = 11.094
"""Argument from which on a float16 exponential is infinite (G 3)."""

FLOAT16_MAX = 65504.0


@dataclass(slots=True)
class Peaks:
    """A listener of the reference executor that keeps the largest magnitudes, and the largest arguments of ``exp``."""

    magnitudes: dict[str, float] = field(default_factory=dict)
    exponents: dict[str, float] = field(default_factory=dict)

    def __call__(self, op: Op, inputs: Mapping[str, object], outputs: Mapping[str, object]) -> None:
        """Record the peaks of one op."""
        for name, value in outputs.items():
            if isinstance(value, torch.Tensor) and value.is_floating_point() and value.numel():
                self.magnitudes[name] = max(self.magnitudes.get(name, 0.0), float(value.abs().max()))
        given = inputs.get("x")
        if op.op_type == "exp" and isinstance(given, torch.Tensor) and given.numel():
            self.exponents[op.name] = max(self.exponents.get(op.name, -torch.inf), float(given.max()))


def find(function: Function, family: Family, peaks: Peaks | None) -> list[Hazard]:
    """Return the hazards of a function on a family, in program order.

    Parameters
    ----------
    function: the program.
    family: the family.
    peaks: the peaks of a calibration; None for none.
    """
    defined = {value.name: op for op in walk(function.body) for value in op.outputs}
    found = []
    for op in walk(function.body):
        peak = None if peaks is None else peaks.magnitudes.get(op.name)
        exponent = None if peaks is None else peaks.exponents.get(op.name)
        texts = _reasons(op, family, peak, exponent, defined)
        found += [Hazard(op.name, op.op_type, text, _finite(peak)) for text in texts]
    return found


def _finite(peak: float | None) -> float | None:
    return peak if peak is not None and math.isfinite(peak) else None


def _reasons(
    op: Op, family: Family, peak: float | None, exponent: float | None, defined: Mapping[str, Op]
) -> Iterator[str]:
    ceiling = family.numerics["product_ceiling"].number
    if op.op_type in PRODUCTS and peak is not None and not peak < NEAR * ceiling:
        verb = "reaches" if not peak < ceiling else "comes near"
        yield f"its output reached {peak:,.0f} in calibration, which {verb} {ceiling:,.0f}, where products are infinite"
    elif peak is not None and not peak <= FLOAT16_MAX:
        yield f"its output reached {peak:,.0f} in calibration; float16 ends at {FLOAT16_MAX:,.0f}"
    limit = family.numerics["slice_limit"].value
    if op.op_type in SLICES and limit is not None and begins_past_zero(op):
        if peak is None:
            yield f"a last-axis slice that begins past 0: a magnitude above {limit:,} becomes infinite"
        elif not peak <= family.numerics["slice_limit"].number:
            yield f"a last-axis slice that begins past 0 held {peak:,.0f} in calibration; above {limit:,} is infinite"
    if op.op_type in ROOTS and (epsilon := _epsilon(op, defined)) is not None:
        floor = family.numerics["root_floor"].number
        if 0 < epsilon < floor:
            yield f"epsilon {epsilon:g} under the root is below {floor:.2g} and counts as zero"
    if exponent is not None and exponent >= EXP_LIMIT:
        yield f"the exponential of {exponent:.4g} is infinite; from {EXP_LIMIT} on it is"


def begins_past_zero(op: Op) -> bool:
    """Return whether a slice of the last axis begins past 0; False if that is not known."""
    begin = _last(op.inputs.get("begin"))
    if op.op_type == "slice_by_index":
        if _last(op.inputs.get("begin_mask")):
            return (_last(op.inputs.get("stride")) or 1) < 0
        if (_last(op.inputs.get("stride")) or 1) < 0:
            return True
    return bool(begin)


def _last(argument: Argument | None) -> int | None:
    if isinstance(argument, Constant) and isinstance(argument.value, torch.Tensor) and argument.value.numel():
        return int(argument.value.reshape(-1)[-1])
    return None


def _epsilon(op: Op, defined: Mapping[str, Op]) -> float | None:
    """Return the constant that is added under a root: rsqrt's own, or that of the add it reads."""
    given = op.inputs["x"]
    adding = defined.get(given.name) if isinstance(given, Ref) else None
    if adding is not None and adding.op_type == "add":
        for argument in adding.inputs.values():
            for item in items(argument):
                if isinstance(item, Constant) and isinstance(item.value, torch.Tensor) and item.value.numel() == 1:
                    return float(item.value.double())
    own = op.inputs.get("epsilon")
    if isinstance(own, Constant) and isinstance(own.value, torch.Tensor) and float(own.value) > 1e-12:
        return float(own.value.double())
    return None
