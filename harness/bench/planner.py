"""Get the plans of a model's variants or of a package in a child process: Core ML's compilers may hang or crash."""

from __future__ import annotations

import contextlib
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.bench.messages import PREPARE, Item, Measure, Part, Planned, Prepare, Prepared, Values, ask
from harness.engine.prediction import by_value
from harness.errors import ExecutorError
from harness.interpreter.reference_model import load
from harness.plan.variants import VARIANTS
from harness.runtime import Source
from harness.workers import Child, Limits

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import msgspec

    from harness.plan.run_plan import Options
    from harness.runtime.compute_plan import PlannedOp
    from harness.zoo.catalog import ModelSpec

PLACE = "harness.bench.measurement:place"


@dataclass(frozen=True, slots=True)
class Planning:
    """A program's plan."""

    name: str
    norms: tuple[str, ...]
    """Names of its norms' results."""
    ops: tuple[PlannedOp, ...]
    predicted: Mapping[str, str]
    """By value name, why it is predicted to leave the engine; empty for one that stays; nothing without a family."""


class Planner:
    """Get plans from a child process.

    Parameters
    ----------
    executor: name of the executor that plans.
    limit_s: time limit of each request.
    environment: variables of the child process.
    family: key of this machine's family of Neural Engine, for the prediction; None for none.
    """

    def __init__(
        self,
        executor: str,
        limit_s: float,
        environment: Mapping[str, str] | None = None,
        family: str | None = None,
    ) -> None:
        self._family = family
        self._executor, self._limits = executor, Limits(limit_s)
        self._child = Child(environment)

    def of_package(self, path: Path, units: str) -> Planning:
        """Return the plan of a package.

        Raises
        ------
        PackageError: if there is none, or it cannot be read.
        ExecutorError: if Core ML does not plan it.
        """
        from harness.explain.fusion import of_package

        norms = tuple(site.name for site in of_package(path).fused)
        with contextlib.closing(self._child):
            return self._plan(path.name, str(path.resolve()), norms, units)

    def of_model(self, spec: ModelSpec, options: Options, units: str = "") -> list[Planning]:
        """Return the plan of each case of a zoo model.

        Raises
        ------
        ExecutorError: if a case cannot be converted, or Core ML does not plan it.
        """
        with tempfile.TemporaryDirectory(prefix="ane-harness-plan-") as folder, contextlib.closing(self._child):
            request = Prepare(spec, options, options.cases(), folder)
            made = [item for item in self._ask(PREPARE, request, spec.key) if isinstance(item, Prepared)]
            for one in made:
                if one.failure is not None:
                    raise ExecutorError(one.failure.reason)
            return [
                self._plan(one.case.title, one.package, one.norms, units or VARIANTS[one.case.variant].compute_units)
                for one in made
            ]

    def _plan(self, name: str, package: str, norms: tuple[str, ...], units: str) -> Planning:
        request = Measure(self._executor, (Part(name, Source(package, compute_units=units)),), Values("", ""), "")
        ops: tuple[PlannedOp, ...] = ()
        for item in self._ask(PLACE, request, name):
            if isinstance(item, Planned):
                ops = item.ops
        return Planning(name, norms, ops, self._predicted(package))

    def _predicted(self, package: str) -> dict[str, str]:
        if self._family is None:
            return {}
        program = load(package)
        found: dict[str, str] = {}
        for function in program.functions.values():
            found |= by_value(function, self._family)
        return found

    def _ask(self, handler: str, request: msgspec.Struct, what: str) -> list[Item]:
        items: list[Item] = []
        end = ask(self._child, handler, request, self._limits, items.append)
        if end.status != "ok":
            raise ExecutorError(f"{what}: {end.status}: {end.reason}")
        return items
