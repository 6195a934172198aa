"""The programs that a preparation made, and the statuses of those it could not make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from harness.bench.messages import Prepared, Values, WideProgram
from harness.bench.outcome import Program
from harness.plan.variants import VARIANTS

if TYPE_CHECKING:
    from harness.bench import messages
    from harness.plan.run_plan import Case
    from harness.records.predictions import Prediction
    from harness.run.failure import Failure
    from harness.workers import End


class Preparation:
    """The collected messages of a preparation."""

    def __init__(self) -> None:
        self.programs: dict[Case, Program] = {}
        self.failures: dict[Case, Failure] = {}
        self.values: Values | None = None
        self.wide = ""
        self.predictions: dict[Case, tuple[Prediction, ...]] = {}

    def add(self, item: messages.Item) -> None:
        """Collect one message."""
        if isinstance(item, Values):
            self.values = item
        elif isinstance(item, WideProgram):
            self.wide = item.package
        elif isinstance(item, Prepared) and item.failure is not None:
            self.failures[item.case] = item.failure
        elif isinstance(item, Prepared):
            self.predictions[item.case] = item.predictions
            self.programs[item.case] = Program(
                item.case,
                item.package,
                own_units(item.case),
                item.norms,
                item.seconds,
                expected=item.expected,
                facts=item.facts,
                problem=item.problem,
                function=item.function,
                inputs=item.inputs,
            )

    def failure(self, case: Case, end: End) -> dict[str, Any]:
        """Return status, reason, outcome, marks and log of a case that has no package."""
        if case in self.failures:
            return msgspec.structs.asdict(self.failures[case])
        return {"status": "failed" if end.status == "ok" else end.status, "reason": end.reason, "log": end.log}


def own_units(case: Case) -> str:
    """Return the compute units of a case's variant; those of the Neural Engine for a package."""
    return VARIANTS[case.variant].compute_units if case.variant in VARIANTS else VARIANTS["on"].compute_units


def fate(end: End, program: Program) -> dict[str, str]:
    """Return status, reason and log of a program whose process ended."""
    return {"status": end.status, "reason": f"{program.name}: {end.reason}", "log": end.log}
