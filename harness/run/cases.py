"""The main job: convert the cases of one model or take them from the cache, execute, compare and record them.

One case's failure is a record with its reason; the others still run. `harness.run.jobs` runs this in child processes.

The converter is imported only if the cache lacks a package: a run whose packages are all cached starts without it.
"""

from __future__ import annotations

import gc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from harness.errors import HarnessError, OutputError
from harness.measure.metrics import not_computed
from harness.plan import run_plan
from harness.records.outcomes import COLLAPSED, is_fault, outcome_of, outcome_of_text, worst
from harness.records.schema import Facts
from harness.run import sentences
from harness.run.cache import Cache, default_folder, digest, files_digest
from harness.run.failure import failure_of
from harness.run.steps import Steps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness.convert.conversion import Converted
    from harness.measure.model_precision import Trial
    from harness.plan.run_plan import Case, Options
    from harness.records.schema import Record, TextRecord
    from harness.run.cache import Entry
    from harness.run.maker import Made, Maker
    from harness.zoo.catalog import ModelSpec
    from harness.zoo.checkpoint import Checkpoint

NOT_OF_A_PACKAGE = (
    "variants",
    "lowerings",
    "compressions",
    "policy",
    "run_id",
    "cache",
    "checkpoint",
    "rescale",
    "aim",
)
"""Options that change no package: they choose the cases and how these are run. All others are part of a package's key;
for a checkpoint, the key holds its files."""

COLLAPSES = "collapses"
"""Key, beside a cached package's facts, of the sentences on its collapse by policy: finding it again takes two runs."""


def run_model(
    spec: ModelSpec, options: Options, announce: Callable[[str], None], cases: tuple[Case, ...] | None = None
) -> Iterator[Record]:
    """Yield one record per case.

    Parameters
    ----------
    spec: the zoo entry.
    options: the run's.
    announce: called with each step before it begins, for a progress display.
    cases: the cases to run; by default all those of the options.
    """
    model = _Model(spec, options, announce)
    chosen = options.cases() if cases is None else cases
    for number, case in enumerate(chosen, 1):
        steps = Steps(announce)
        try:
            yield model.run(case, steps, last=number == len(chosen))
        except HarnessError as error:
            fields = msgspec.structs.asdict(failure_of(error))
            yield run_plan.record(spec, options, case, **steps.figures(), metrics=not_computed(), **fields)


def weights_of(checkpoint: Checkpoint | None) -> str:
    """Return a digest of a checkpoint's files; "" for random weights, which the rest of the key decides."""
    if checkpoint is None:
        return ""
    folder = Path(checkpoint.folder)
    names = (checkpoint.gguf_file,) if checkpoint.gguf_file else checkpoint.files
    return files_digest((folder / name for name in names), folder)


def key(spec: ModelSpec, options: Options, case: Case, weights: str = "") -> str:
    """Return the key of a case's package in the cache.

    Parameters
    ----------
    spec, options, case: the model to convert, and how.
    weights: the digest from :func:`weights_of`.
    """
    if weights:
        spec = msgspec.structs.replace(spec, published="")  # the files' location is not part of their content
    chosen = {name: value for name, value in msgspec.to_builtins(options).items() if name not in NOT_OF_A_PACKAGE}
    return digest(
        {
            "spec": msgspec.to_builtins(spec),
            "weights": weights,
            "options": chosen,
            "rescale": run_plan.asked_rescale(spec, options, case),
            "compute_precision": options.compute_precision,
            "case": msgspec.to_builtins(case),
        }
    )


def _is_fault(outcome: str, case: Case) -> bool:
    return is_fault(outcome, plain=case.is_plain, compressed=bool(case.compression))


class _Model:
    """One model, whose cases share the results that are made once."""

    def __init__(self, spec: ModelSpec, options: Options, announce: Callable[[str], None]) -> None:
        self.spec, self.options, self._announce = spec, options, announce
        self._marks: list[str] = []
        self._cache = Cache(default_folder(), self._marks.append) if options.cache else None
        self._maker: Maker | None = None
        self._last = False
        self._weights: str | None = None

    def run(self, case: Case, steps: Steps, *, last: bool = False) -> Record:
        """Run one case, from the cache where it holds the package; after the ``last`` one, PyTorch's model is freed."""
        self._marks.clear()
        self._last = last
        if self._cache is None:
            return self._made(case, steps)
        steps.say(f"look for {case.title}")
        if self._weights is None:
            self._weights = weights_of(self.options.checkpoint)
        package_key = key(self.spec, self.options, case, self._weights)
        with steps.timed("load"):
            entry = self._cache.get(package_key)
        if entry is None:
            steps.forget("load")
            return self._made(case, steps, package_key)
        with entry:
            kept = self._kept(case, steps, entry)
        if kept is not None:
            return kept
        steps.forget("load")
        return self._made(case, steps)

    def _kept(self, case: Case, steps: Steps, entry: Entry) -> Record | None:
        """Run a case whose package is in the cache; return None if its output is wrong, which must be explained."""
        from harness.measure.model_precision import Trial, measure

        trial, package, policy = Trial.from_arrays(entry.arrays()), str(entry.package), self.options.policy
        with steps.timed("execute", f"execute {case.title}"):
            metrics = measure(trial, package, policy)
        if _is_fault(outcome_of(metrics), case):
            return None
        text = self._read(case, steps, trial, package)
        outcome = worst(outcome_of(metrics), "" if text is None else outcome_of_text(text))
        if _is_fault(outcome, case):
            return None
        known = dict(entry.facts)
        reason = known.pop(COLLAPSES, {}).get(policy, "")
        facts = msgspec.convert(known, Facts)
        if outcome_of(metrics) == COLLAPSED and not reason:
            reason = sentences.collapse(trial, package, policy, facts, steps)
        found = {"metrics": metrics, "outcome": outcome, "text": text, "reason": reason}
        return self._record(case, steps, facts, **found, cached=True, status="ok")

    def _made(self, case: Case, steps: Steps, package_key: str = "") -> Record:
        """Make a case, run it, and keep its package under a key, if there is one."""
        from harness.measure.model_precision import measure
        from harness.run.maker import Maker

        self._maker = self._maker or Maker(self.spec, self.options, self._announce, only_executed=self._cache is None)
        made, policy = self._maker.make(case, steps), self.options.policy
        if self._last:
            self._free_network()
        with steps.timed("execute", f"execute {case.title}"):
            metrics = measure(made.trial, made.converted, policy)
        text = self._read(case, steps, made.trial, made.converted)
        outcome = worst(outcome_of(metrics), "" if text is None else outcome_of_text(text))
        problem = made.problem
        if not problem and _is_fault(outcome, case):
            lost = outcome_of(metrics)
            problem = (
                sentences.lost(made, policy, lost, case.title, steps)
                if _is_fault(lost, case)
                else sentences.misread(text, outcome)
            )
        status, reason = ("wrong", problem) if problem else ("ok", "")
        if not problem and outcome_of(metrics) == COLLAPSED:
            reason = sentences.collapse(made.trial, made.converted, policy, made.facts, steps)
        if self._cache is not None and package_key and not problem:  # a wrong package is made again each time
            self._keep(self._cache, package_key, case, made, reason)
        found = {"metrics": metrics, "outcome": outcome, "text": text}
        return self._record(case, steps, made.facts, **found, status=status, reason=reason)

    def _free_network(self) -> None:
        """Let the program execute without the network, whose float32 weights are twice as large."""
        self._maker = None
        if self.options.size == "full":
            gc.collect()  # the converted programs refer to the weights, and to themselves

    def _read(self, case: Case, steps: Steps, trial: Trial, model: Converted | str) -> TextRecord | None:
        """Have the program read and continue the text, if there is one."""
        from harness.measure.text_record import text_record

        checkpoint = self.options.checkpoint
        if trial.reading is None or checkpoint is None:
            return None
        with steps.timed("read", f"read with {case.title}"):
            return text_record(checkpoint, trial, model, self.options.policy)

    def _keep(self, cache: Cache, package_key: str, case: Case, made: Made, reason: str) -> None:
        """Put a package and its collapse's sentence into the cache; a cache that cannot be written is only a mark."""
        title = f"{self.spec.key} {case.title} {self.options.size} {self.options.frontend}"
        collapses = {COLLAPSES: {self.options.policy: reason}} if reason else {}
        facts, arrays = msgspec.to_builtins(made.facts) | collapses, made.trial.arrays()
        try:
            cache.put(package_key, made.converted.save, title=title, facts=facts, arrays=arrays).close()
        except OutputError as error:
            self._marks.append(str(error))

    def _record(self, case: Case, steps: Steps, facts: Facts, **fields: Any) -> Record:
        known = msgspec.structs.asdict(facts) | {"marks": (*facts.marks, *self._marks)}
        return run_plan.record(self.spec, self.options, case, **known, **steps.figures(), **fields)
