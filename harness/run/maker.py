"""Make the parts that a case of a model needs: the converted program, the trial, and the facts of its conversion.

A model is exported once and plainly converted once; its cases share both. `harness.run.cases` does this if
the cache lacks the package; it needs PyTorch's exporters, transformers and coremltools.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ane_rms.coremltools_patches.lean import Spill
from ane_rms.passes.strategies import DEFAULT_STRATEGY
from harness.convert.compression import SCHEMES, compress
from harness.convert.conversion import Converted, Lean, convert
from harness.convert.norm_counts import count, verdict
from harness.errors import HarnessError
from harness.export import ExportedModel, export
from harness.measure import norm_cost
from harness.measure.calibration import Calibration
from harness.measure.model_precision import Trial
from harness.plan import run_plan
from harness.plan.shapes import Shape
from harness.plan.variants import VARIANTS
from harness.records.schema import Facts
from harness.run.steps import Steps
from harness.zoo.rescale_choice import factor

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.plan.run_plan import Case, Options
    from harness.zoo.catalog import ModelSpec


FLOAT32_BYTES = 4


@dataclass(frozen=True, slots=True)
class Made:
    """One case of a model, converted."""

    converted: Converted
    trial: Trial
    facts: Facts
    problem: str
    """The check that does not hold; empty if all hold."""


class Maker:
    """Export one model once, convert it plainly once, then convert each case.

    Parameters
    ----------
    spec: the zoo entry.
    options: the run's.
    announce: called with the title of each step before it begins.
    only_executed: whether the programs are executed in this process and saved nowhere. A program of one function then
        takes its weights from memory, and no file of them is written.
    """

    def __init__(
        self, spec: ModelSpec, options: Options, announce: Callable[[str], None], *, only_executed: bool = False
    ) -> None:
        self.spec, self.options, self._shared = spec, options, Steps(announce)
        self._only_executed = only_executed
        self._prepared = False
        self._failure: HarnessError | None = None
        self._calibration: Calibration | None = None
        self._base: tuple[tuple[str, str, str], Converted] | None = None
        self._casts: Spill | None = None

    def prepare(self, steps: Steps) -> None:
        """Export, run the PyTorch model, and convert plainly, once; ``steps`` takes over their figures.

        Raises
        ------
        HarnessError: if one of these fails, the same error again for every case.
        """
        if self._failure is None and not self._prepared:
            try:
                self._prepare()
            except HarnessError as error:
                self._failure = error
        steps.include(self._shared)
        if self._failure is not None:
            raise self._failure
        self._prepared = True

    def _prepare(self) -> None:
        options = self.options
        with self._shared.timed("export", "export"):
            self.exported: ExportedModel = export(
                self.spec,
                size=options.size,
                frontend=options.frontend,
                shape=Shape(options.shape, options.sequence_length),
                checkpoint=options.checkpoint,
                prompts=options.prompts,
                text=options.text,
            )
        self.trial = Trial.of(self.exported)
        tensors = [*self.exported.module.parameters(), *self.exported.module.buffers()]
        self._casts = Spill({tensor.data_ptr() for tensor in tensors})
        if options.lean and options.compute_precision == "FLOAT16":
            weights = (tensor.detach() for tensor in tensors if tensor.is_floating_point())
            self._casts.begin(weight.numpy() for weight in weights if weight.element_size() == FLOAT32_BYTES)
        only_counted = all(case.variant == "on" for case in options.cases())
        with self._shared.timed("convert_plain", "convert plain"):
            self.plain: Converted = self._convert(run_plan.Case("off"), in_memory=only_counted)

    def make(self, case: Case, steps: Steps) -> Made:
        """Convert one case, and count its norms.

        Raises
        ------
        HarnessError: if the model cannot be exported or converted.
        """
        self.prepare(steps)
        converted = self._converted(case, steps)
        variant = VARIANTS[case.variant]
        counts = count(converted, self.exported, variant=variant, lowering=case.lowering)
        problem = verdict(
            counts, converted, self.plain, variant=variant, lowering=case.lowering, control=self.spec.control
        )
        cost = norm_cost.of_report(counts.report, case.lowering) if case.lowering else None
        facts = Facts(
            ops_before=self.plain.op_count(),
            ops_after=converted.op_count(),
            norm_ops=None if cost is None else cost[0],
            norm_bytes=None if cost is None else cost[1],
            marks=self.exported.marks,
            peaks={} if self._calibration is None or case.variant != "on" else self._calibration.peaks(),
            **counts.fields(),
        )
        return Made(converted, self.trial, facts, self.trial.problem or problem)

    def _converted(self, case: Case, steps: Steps) -> Converted:
        """Return a case's model; the one before compression is kept for the cases that follow."""
        at_least = SCHEMES[case.compression].deployment_target if case.compression else ""
        steps.say(f"convert {case.title}")
        if case.variant == "off" and self.exported.deployment_target >= at_least:
            base = self.plain
            steps.same("convert", "convert_plain")
        elif self._base is not None and self._base[0] == (case.variant, case.lowering, at_least):
            base = self._base[1]
        else:
            self._base = None  # before the next one is made: two of a large model need not fit
            with steps.timed("convert"):
                base = self._convert(case, at_least)
            self._base = ((case.variant, case.lowering, at_least), base)
        if not case.compression:
            return base
        with steps.timed("compress"):
            return compress(base, case.compression)

    def _rescale(self, case: Case) -> Callable[[ExportedModel], Any] | None:
        """Return a function that gives each function's rescale; calibration runs the model's own tokens or prompts."""
        choice = run_plan.rescale_of(self.spec, self.options, case)
        if choice == "off" or self.trial.problem:  # no factor brings values that are not finite into range
            return None
        if choice != "auto":
            return lambda _: factor(choice)
        calibration = self._calibration = self._calibration or Calibration(self.exported.runs)
        return lambda function: calibration.rescaling(function, self.options.aim)

    def _convert(self, case: Case, at_least: str = "", *, in_memory: bool = False) -> Converted:
        in_memory = in_memory or (self._only_executed and not any(self.options.compressions))
        single = len(self.exported.functions) == 1  # several are joined by way of their files
        return convert(
            self.exported,
            VARIANTS[case.variant],
            compute_precision=self.options.compute_precision,
            lowering=case.lowering or DEFAULT_STRATEGY,
            at_least=at_least,
            lean=Lean(self._casts, {} if in_memory and single else None) if self.options.lean else None,
            rescale=self._rescale(case),
        )
