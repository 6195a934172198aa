"""Collect a measurement's messages into the fields of its rows and their statuses."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.bench.condition import STRICT, marks
from harness.bench.messages import Checked, Loaded, Measured, Planned, Refused, Remark, Seen, Taken
from harness.measure.metrics import not_computed
from harness.plan import run_plan
from harness.records.outcomes import is_fault
from harness.runtime.compute_plan import summarize
from harness.workers import End

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.plan.run_plan import Case
    from harness.records.machine import Condition
    from harness.records.schema import Facts

UNITS = ("CPU_ONLY", "CPU_AND_GPU", "CPU_AND_NE", "ALL")
"""Every ``ct.ComputeUnit``."""

WIDE = run_plan.Case("off")
"""The case of the sweep's reference: plain, FLOAT32, CPU_ONLY."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a bench."""

    executor: str
    units: tuple[str, ...] = ()
    """Compute units to measure on; empty for each variant's own."""
    samples: int = 100
    burst_s: float = 30.0
    sustain_s: float = 0.0
    limit_s: float = 300.0
    """Time limit of one measurement."""
    families: tuple[str, ...] = ()
    """Families of Neural Engine to predict each program's time for."""
    strict: bool = False
    """Whether rows with a mark of :data:`harness.bench.condition.STRICT` fail."""
    device: str = ""
    marks: tuple[str, ...] = ()
    """Marks that every row carries."""
    environment: dict[str, str] = field(default_factory=dict)
    """Variables of the child processes."""


@dataclass(frozen=True, slots=True)
class Program:
    """One program to measure, with the identity of its row."""

    case: Case
    package: str
    units: str
    norms: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    wide: bool = False
    expected: str = ""
    facts: Facts | None = None
    function: str = ""
    inputs: str = ""
    problem: str = ""
    """The check of the conversion that does not hold, whatever the program computes."""

    @property
    def name(self) -> str:
        """The program in words."""
        return f"{self.case.title}{' FLOAT32' if self.wide else ''} {self.units}"


class Outcome:
    """The collected messages of one measurement."""

    def __init__(self, programs: Sequence[Program]) -> None:
        self.programs = programs
        self.loaded: dict[int, Loaded] = {}
        self.checked: dict[int, Checked] = {}
        self.refused: dict[int, Refused] = {}
        self.planned: dict[int, Planned] = {}
        self.samples: dict[int, dict[str, list[float]]] = {}
        self.conditions: dict[str, list[Condition]] = {"before": [], "while": [], "after": []}
        self.marks: list[str] = []
        self.end = End()

    def add(self, item: Measured) -> None:
        """Collect one item."""
        if isinstance(item, Seen):
            self.conditions[item.when].append(item.condition)
        elif isinstance(item, Remark):
            self.marks.append(item.text)
        elif isinstance(item, Taken):
            kept = self.samples.setdefault(item.part, {})
            kept.setdefault(item.kind, []).extend(item.wall_s)
            if item.framework_s:
                kept.setdefault(f"{item.kind}_framework", []).extend(item.framework_s)
        else:
            by_kind: dict[Any, dict[int, Any]] = {
                Loaded: self.loaded,
                Checked: self.checked,
                Refused: self.refused,
                Planned: self.planned,
            }
            by_kind[type(item)][item.part] = item

    def fields(self, part: int, settings: Settings) -> dict[str, Any]:
        """Return the fields of a part's record that the measurement determines."""
        loaded, checked = self.loaded.get(part), self.checked.get(part)
        times = {name: tuple(values) for name, values in self.samples.get(part, {}).items()}
        stages = {} if loaded is None else {name: (value,) for name, value in loaded.seconds.items()}
        first = {} if checked is None else {"first_predict": (checked.first_predict_s,)}
        before, during, after = (self.conditions[name] for name in ("before", "while", "after"))
        found = marks(*before, *during, *after, cores=os.cpu_count() or 0)
        planned = self.planned.get(part)
        return {
            "samples": {**stages, **first, **times},
            "metrics": not_computed() if checked is None else checked.metrics,
            "outcome": "" if checked is None else checked.outcome,
            "condition": before[0] if before else None,
            "condition_after": after[0] if after else None,
            "placement": None if planned is None else summarize(planned.ops, self.programs[part].norms),
            "marks": tuple(dict.fromkeys((*settings.marks, *found, *self.marks))),
        }

    @staticmethod
    def _lost(checked: Checked) -> str:
        """Return the sentence on values that are not fine."""
        if checked.metrics.get("zero_rows") == 1:
            return "the output is collapsed: every value is zero; `ane-harness run` names the first op that goes wrong"
        rel_l2 = checked.metrics.get("rel_l2")
        error = "not finite" if rel_l2 is None else f"{rel_l2:.2g}"
        return (
            f"the output is {checked.outcome}: its relative L2 error is {error}; "
            "`ane-harness run` names the first op that goes wrong"
        )

    def verdict(self, part: int, found: tuple[str, ...], settings: Settings) -> dict[str, str]:
        """Return the status of a part that was measured, with its reason and log."""
        if refused := self.refused.get(part):
            return {"status": "failed", "reason": refused.reason, "log": refused.log}
        checked, case = self.checked[part], self.programs[part].case
        if wrong := self.programs[part].problem or checked.wrong:
            return {"status": "wrong", "reason": wrong}
        if is_fault(checked.outcome, plain=case.is_plain, compressed=bool(case.compression)):
            return {"status": "wrong", "reason": self._lost(checked)}
        if settings.strict and (spoilt := [mark for mark in found if mark in STRICT]):
            return {"status": "failed", "reason": f"refused by --strict: {', '.join(spoilt)}"}
        return {"status": "ok", "reason": ""}
