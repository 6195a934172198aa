"""The main job: one model in its cases, converted, counted, executed, compared, recorded.

One case's failure is a record with its reason; the others still run. `harness.jobs` runs this in child processes.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, cast

from ane_rms.passes.strategies import DEFAULT_STRATEGY
from harness import norm_cost, plan
from harness.checks import count, verdict
from harness.compress import SCHEMES, compress
from harness.convert import Converted, convert
from harness.errors import HarnessError, UnsuitedShapeError
from harness.export import ExportedModel, export
from harness.isolation.memory import is_refusal
from harness.measure import expected_logits, measure
from harness.shapes import Shape
from harness.variants import VARIANTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness.plan import Case, Options
    from harness.store.schema import Record
    from harness.zoo import ModelSpec


def steps(options: Options) -> int:
    """Return how many steps :func:`run_model` announces for one model."""
    return len(plan.PREPARATION) + 2 * len(options.cases())


def run_model(
    spec: ModelSpec, options: Options, announce: Callable[[str], None], cases: tuple[Case, ...] | None = None
) -> Iterator[Record]:
    """Yield one record per case.

    Parameters
    ----------
    spec: the zoo entry.
    options: the run's.
    announce: told each step before it begins, for a progress display.
    cases: the ones to run; default: all of the options'.
    """
    cases = options.cases() if cases is None else cases
    model = _Model(spec, options, announce)
    try:
        model.prepare()
    except HarnessError as error:
        for case in cases:
            yield plan.record(spec, options, case, **_failure(error))
        return
    for case in cases:
        try:
            yield model.run(case)
        except HarnessError as error:
            yield plan.record(spec, options, case, seconds=model.seconds_of_case(), **_failure(error))


def _failure(error: HarnessError) -> dict[str, str]:
    if isinstance(error, UnsuitedShapeError):
        return {"status": "skipped", "reason": str(error)}
    return {"status": "out of memory" if is_refusal(error) else "failed", "reason": str(error)}


class _Model:
    """One model: exported once, plainly converted once, then each case."""

    def __init__(self, spec: ModelSpec, options: Options, announce: Callable[[str], None]) -> None:
        self.spec, self.options, self.announce = spec, options, announce
        self.seconds: dict[str, float] = {}
        self._base: tuple[tuple[str, str, str], Converted] | None = None

    def prepare(self) -> None:
        options = self.options
        self.announce("export")
        self.exported: ExportedModel = self._timed(
            "export",
            lambda: export(
                self.spec,
                size=options.size,
                frontend=options.frontend,
                shape=Shape(options.shape, options.sequence_length),
                checkpoint=options.checkpoint,
                prompts=options.prompts,
            ),
        )
        self.expected = expected_logits(self.exported)
        self.announce("convert plain")
        self.plain = self._timed("convert_plain", lambda: self._convert(plan.Case("off")))

    def run(self, case: Case) -> Record:
        variant = VARIANTS[case.variant]
        self.announce(f"convert {case.title}")
        converted = self._converted(case)
        counts = count(converted, self.exported, variant=variant, lowering=case.lowering)
        self.announce(f"execute {case.title}")
        measured = self._timed("execute", lambda: measure(self.exported, self.expected, converted, self.options.policy))
        reason = verdict(
            counts, converted, self.plain, variant=variant, lowering=case.lowering, control=self.spec.control
        )
        cost = norm_cost.of_report(counts.report, case.lowering) if case.lowering else None
        return plan.record(
            self.spec,
            self.options,
            case,
            seconds=self.seconds_of_case(),
            status="wrong" if reason else "ok",
            reason=reason,
            ops_before=self.plain.op_count(),
            ops_after=converted.op_count(),
            norm_ops=None if cost is None else cost[0],
            norm_bytes=None if cost is None else cost[1],
            metrics=measured,
            marks=self.exported.marks,
            **counts.fields(),
        )

    def seconds_of_case(self) -> dict[str, float]:
        """Return the time of each step of the case under way, in seconds."""
        return {
            name: self.seconds[name] for name in ("export", "convert", "compress", "execute") if name in self.seconds
        }

    def _converted(self, case: Case) -> Converted:
        """Return a case's model; the one before compression is kept for the cases that follow."""
        at_least = SCHEMES[case.compression].deployment_target if case.compression else ""
        self.seconds.pop("compress", None)
        base: Converted
        if case.variant == "off" and self.exported.deployment_target >= at_least:
            base = self.plain
            self.seconds["convert"] = self.seconds["convert_plain"]
        elif self._base is not None and self._base[0] == (case.variant, case.lowering, at_least):
            base = self._base[1]
        else:
            self._base = None  # before the next one is made: two of a large model need not fit
            base = self._timed("convert", lambda: self._convert(case, at_least))
            self._base = ((case.variant, case.lowering, at_least), base)
        if not case.compression:
            return base
        return cast("Converted", self._timed("compress", lambda: compress(base, case.compression)))

    def _convert(self, case: Case, at_least: str = "") -> Converted:
        return convert(
            self.exported,
            VARIANTS[case.variant],
            compute_precision=self.options.compute_precision,
            lowering=case.lowering or DEFAULT_STRATEGY,
            at_least=at_least,
        )

    def _timed(self, name: str, work: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = work()
        self.seconds[name] = time.perf_counter() - start
        return result
