"""Predict how a family treats a function: the ops it takes, the values that break, and the time.

Every figure is a prediction from the published measurements of `harness.engine.families`, and is labelled so.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from harness.engine import hazards, op_costs
from harness.engine.families import load
from harness.engine.op_support import Surroundings, items, reasons, value_types
from harness.interpreter.program import Constant, walk
from harness.records.predictions import Absence, Prediction

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from harness.engine.families import EngineData, Family
    from harness.engine.op_support import Reason
    from harness.interpreter.program import Function, Op, ValueType


def predict(function: Function, key: str, subject: str, peaks: hazards.Peaks | None = None) -> Prediction:
    """Return the prediction of a family for a function.

    Parameters
    ----------
    function: the function that runs.
    key: the family's key, for example ``m1``.
    subject: the program's name, for the reader.
    peaks: the peaks of a calibration; None for none.
    """
    data = load()
    family = data.families[key]
    around = Surroundings.of(function)
    streamed, stored = _weights(function, family, data)
    tally = _Tally(family, data, around.types, streamed)
    for op in walk(function.body):
        if not is_weight(op, data):
            tally.add(op, reasons(op, family, data, around))
    latency = sum(tally.by_class.values())
    return Prediction(
        subject=subject,
        family=key,
        basis="measured" if family.costs.peak_flops.measured and family.costs.bytes_per_s.measured else "derived",
        ops=tally.ops,
        on_engine=tally.on_engine,
        may_leave=tally.may_leave,
        leave=tally.ops - tally.on_engine - tally.may_leave,
        absences=tuple(tally.absences()),
        islands=tally.islands,
        hand_offs=tally.hand_offs,
        weight_bytes=stored,
        weight_limit_bytes=int(family.limits.weight_bytes.number),
        working_sets=tally.beyond,
        largest_operand_bytes=tally.largest,
        working_set_bytes=int(family.limits.working_set_bytes.number),
        padded=tally.padded,
        hazards=tuple(hazards.find(function, family, peaks)),
        latency_s=latency,
        low_s=latency * (1 - data.error.median),
        high_s=latency * (1 + data.error.median),
        by_class_s=dict(sorted(tally.by_class.items(), key=lambda one: -one[1])),
        without_estimate=dict(sorted(tally.unknown.items())),
    )


def by_value(function: Function, key: str) -> dict[str, str]:
    """Return, by the name of each op's first value, why it leaves the engine of a family; empty for one that stays."""
    data = load()
    around = Surroundings.of(function)
    return {
        op.name: "; ".join(reason.text for reason in reasons(op, data.families[key], data, around) if reason.certain)
        for op in walk(function.body)
        if not is_weight(op, data)
    }


def is_weight(op: Op, data: EngineData) -> bool:
    """Return whether an op is a constant, or decompresses a weight before the program runs."""
    support = data.support.ops.get(op.op_type)
    return op.op_type == "const" or (support is not None and support.kind == "weight")


def _weights(function: Function, family: Family, data: EngineData) -> tuple[dict[str, int], int]:
    """Return bytes by name of a compressed weight as it streams, and of all weights together."""
    streamed: dict[str, int] = {}
    seen: dict[int, int] = {}
    for op in walk(function.body):
        held = {
            id(item.value): item.value.numel() * item.value.element_size()
            for argument in op.inputs.values()
            for item in items(argument)
            if isinstance(item, Constant) and isinstance(item.value, torch.Tensor)
        }
        if not is_weight(op, data):
            seen |= {one: op_costs.BYTES * size // 4 if _is_float32(op, one) else size for one, size in held.items()}
            continue
        streams = data.reaches(family, data.support.ops[op.op_type].streams_from)
        expanded = op_costs.BYTES * op_costs.elements(op.outputs[0].type)
        streamed[op.name] = sum(held.values()) if streams else expanded
    return streamed, sum(seen.values()) + sum(streamed.values())


def _is_float32(op: Op, identity: int) -> bool:
    return any(
        isinstance(item, Constant) and id(item.value) == identity and item.type.dtype.name == "fp32"
        for argument in op.inputs.values()
        for item in items(argument)
    )


@dataclass(slots=True)
class _Tally:
    """Counts and seconds, gathered op by op in program order."""

    family: Family
    data: EngineData
    types: Mapping[str, ValueType]
    streamed: Mapping[str, int]
    ops: int = 0
    on_engine: int = 0
    may_leave: int = 0
    islands: int = 0
    hand_offs: int = 0
    beyond: int = 0
    largest: int = 0
    padded: int = 0
    by_class: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    unknown: Counter[str] = field(default_factory=Counter)
    _found: dict[tuple[str, str, bool], list[str]] = field(default_factory=dict)
    _before: bool | None = None

    def add(self, op: Op, why: list[Reason]) -> None:
        self.ops += 1
        certain = any(reason.certain for reason in why)
        for reason in why:
            self._found.setdefault((op.op_type, reason.text, reason.certain), []).append(op.name)
        stays = not certain
        if not why:
            self.on_engine += 1
        elif stays:
            self.may_leave += 1
        self.hand_offs += self._before is not None and self._before != stays
        if stays and self._before is not True:
            self.islands += 1
            self.by_class["dispatch"] += self.family.costs.floor_s.number
        self._before = stays
        if stays:
            self._cost(op)

    def _cost(self, op: Op) -> None:
        largest = max(op_costs.operand_bytes(op, self.types, self.streamed), default=0)
        self.largest = max(self.largest, largest)
        self.beyond += largest > self.family.limits.working_set_bytes.number
        granule = int(self.family.limits.granule_bytes.number) // op_costs.BYTES
        lasts = [one.shape[-1] for one in value_types(op, self.types) if one.shape]
        self.padded += any(last is not None and last % granule for last in lasts)
        spent = op_costs.seconds(op, self.family, self.data, self.types, self.streamed)
        if spent is None:
            self.unknown[op.op_type] += 1
        else:
            self.by_class[self.data.support.ops[op.op_type].kind] += spent

    def absences(self) -> Iterator[Absence]:
        """Yield the ops that leave or may leave, the certain and the frequent first."""
        ordered = sorted(self._found.items(), key=lambda one: (not one[0][2], -len(one[1]), one[0]))
        for (op_type, text, certain), names in ordered:
            yield Absence(op_type, text, len(names), certain, names[0])
