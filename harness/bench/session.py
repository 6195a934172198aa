"""The parent's side of the bench: choose which programs are measured together in a child, and make the rows.

All programs of one measurement share a process, since that is what pairs them. If one of them ends the process, it gets
its row, and the others are measured again without it. This terminates, since each round has one program fewer.
"""

from __future__ import annotations

import os
import platform
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from harness.bench.messages import PREPARE, Loaded, Measure, Part, Prepare, Values, ask
from harness.bench.outcome import WIDE, Outcome, Program, Settings
from harness.bench.prepared import Preparation, fate, own_units
from harness.measure.metrics import not_computed
from harness.plan import run_plan
from harness.records.environment import environment
from harness.runtime import Source
from harness.workers import Child, Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from typing_extensions import Self

    from harness.plan.run_plan import Case, Options
    from harness.records.predictions import Prediction
    from harness.records.schema import Record
    from harness.zoo.catalog import ModelSpec
    from harness.zoo.checkpoint import Checkpoint

MEASURE = "harness.bench.measurement:measure"


@dataclass(frozen=True, slots=True)
class Subject:
    """The subject of a measurement in several cases: a zoo model, or a norm by itself."""

    key: str
    cases: tuple[Case, ...]
    record: Callable[[Case, dict[str, Any]], Record]
    """Make the record of a case."""


class Bench:
    """Measure the models of one run.

    Parameters
    ----------
    options: the run's; its sizes, frontends and lowerings.
    settings: how to measure.
    announce: called with each step before it begins.
    checkpoints: trained weights by model key; those models are measured with them, at the published size.
    """

    def __init__(
        self,
        options: Options,
        settings: Settings,
        announce: Callable[[str], None] = lambda _: None,
        checkpoints: Mapping[str, Checkpoint] | None = None,
    ) -> None:
        self.options, self.settings, self._announce = options, settings, announce
        self._checkpoints = checkpoints or {}
        # The reference executor's times are not a device's; one thread at least keeps waiting for others out of them.
        threads = {"OMP_NUM_THREADS": "1"} if settings.executor == "reference" else {}
        self._preparer, self._measurer = Child(settings.environment), Child({**settings.environment, **threads})
        self._pairs = 0
        self.predictions: list[Prediction] = []
        """The engine model's predictions for the programs measured so far; each one's subject is the row's title."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._preparer.close()
        self._measurer.close()

    def model(self, spec: ModelSpec) -> Iterator[Record]:
        """Yield a record for each case of a zoo model in each of its compute units."""
        options, cases = self.options, self.options.cases()
        if (own := self._checkpoints.get(spec.key)) is not None:
            options = msgspec.structs.replace(options, checkpoint=own, size="full")
        subject = Subject(spec.key, cases, lambda case, fields: run_plan.record(spec, options, case, **fields))
        yield from self.measure(
            subject,
            PREPARE,
            lambda folder: Prepare(spec, options, cases, folder, bool(self.settings.units), self.settings.families),
        )

    def measure(self, subject: Subject, handler: str, request: Callable[[str], msgspec.Struct]) -> Iterator[Record]:
        """Yield a record for each case of a subject in each of its compute units.

        Parameters
        ----------
        subject: what is measured.
        handler: prepares the subject's packages in a child process.
        request: makes the request, given the folder for the packages.
        """
        with tempfile.TemporaryDirectory(prefix="ane-harness-bench-") as folder:
            prepared = Preparation()
            limits = Limits(self.settings.limit_s)
            end = ask(self._preparer, handler, request(folder), limits, prepared.add, self._announcer(subject))
            for case, predictions in prepared.predictions.items():
                title = subject.record(case, {"status": "ok"}).title
                self.predictions += [msgspec.structs.replace(one, subject=title) for one in predictions]
            for case in subject.cases:
                if case not in prepared.programs:
                    for units in self.settings.units or ("",):
                        program = Program(case, "", units or own_units(case))
                        yield self._record(subject, program, prepared.failure(case, end))
            for programs, values in self._groups(subject, prepared, folder):
                yield from self._measured(subject, programs, values, folder)

    def _groups(self, subject: Subject, prepared: Preparation, folder: str) -> Iterator[tuple[list[Program], Values]]:
        """Yield the programs to be measured together, with the files of their values."""
        if prepared.values is None:
            return
        values = prepared.values
        found = [prepared.programs[case] for case in subject.cases if case in prepared.programs]
        if not self.settings.units:
            yield found, values
            return
        if prepared.wide:
            kept = str(Path(folder) / "wide.npz")
            yield [Program(WIDE, prepared.wide, "CPU_ONLY", wide=True)], msgspec.structs.replace(values, keep=kept)
            if Path(kept).exists():
                values = msgspec.structs.replace(values, expected=kept)
        for units in self.settings.units:
            yield [replace(one, units=units) for one in found], values

    def _measured(self, subject: Subject, programs: list[Program], values: Values, folder: str) -> Iterator[Record]:
        """Measure programs together, again without one that ended the process, until none is left."""
        left, made = list(programs), {}
        while left:
            outcome, culprit = self._measure(subject, left, values, folder)
            ended = outcome.end.status != "ok"
            fallen = [left[culprit]] if culprit is not None else left
            pair = self._pair(outcome)
            for number, program in enumerate(left):
                fields = outcome.fields(number, self.settings)
                if ended and program in fallen:
                    fields |= {"samples": {}, **fate(outcome.end, program)}
                elif ended and number not in outcome.refused:
                    continue
                else:
                    fields |= {"pair": pair, **outcome.verdict(number, fields["marks"], self.settings)}
                made[program.name] = self._record(subject, program, fields, outcome.loaded.get(number))
            left = [program for program in left if program.name not in made]
        yield from (made[program.name] for program in programs)

    def _measure(
        self, subject: Subject, programs: list[Program], values: Values, folder: str
    ) -> tuple[Outcome, int | None]:
        """Return a measurement's results, and the program that was running when its process ended, if one was."""
        outcome, settings, tell = Outcome(programs), self.settings, Path(folder) / "tell"
        tell.write_bytes(b"\0")
        request = Measure(
            settings.executor,
            tuple(Part(program.name, self._source(program), program.expected, program.inputs) for program in programs),
            values,
            str(tell),
            samples=settings.samples,
            burst_s=settings.burst_s,
            sustain_s=settings.sustain_s,
        )
        limits = Limits(settings.limit_s + settings.sustain_s)
        outcome.end = ask(self._measurer, MEASURE, request, limits, outcome.add, self._announcer(subject))
        number = tell.read_bytes()[0] - 1
        return outcome, number if number >= 0 else None

    def _announcer(self, subject: Subject) -> Callable[[str], None]:
        return lambda step: self._announce(f"{subject.key}: {step}")

    def _source(self, program: Program) -> Source:
        return Source(
            program.package,
            compute_units=program.units,
            policy="fp32" if program.wide else self.options.policy,
            device=self.settings.device,
            function=program.function,
        )

    def _pair(self, outcome: Outcome) -> str:
        if len(outcome.samples) < 2 or outcome.end.status != "ok":
            return ""
        self._pairs += 1
        return f"{self.options.run_id}-{self.options.shape}-{self._pairs}"

    def _record(
        self, subject: Subject, program: Program, fields: dict[str, Any], loaded: Loaded | None = None
    ) -> Record:
        executor = self.settings.executor if loaded is None else loaded.executor
        known = {} if program.facts is None else msgspec.structs.asdict(program.facts)
        marks = (*known.get("marks", ()), *fields.get("marks", ()))
        record = subject.record(
            program.case, {"seconds": program.seconds, "metrics": not_computed(), **known, **fields, "marks": marks}
        )
        precision = {"compute_precision": "FLOAT32"} if program.wide else {}
        policy = "" if executor != "reference" else "fp32" if program.wide else self.options.policy
        machine = environment()
        if loaded is not None and loaded.machine:
            machine = msgspec.structs.replace(machine, **loaded.machine)
        return msgspec.structs.replace(
            record, executor=executor, policy=policy, compute_units=program.units, environment=machine, **precision
        )


def choose_executor(device: str = "") -> str:
    """Return the executor of this machine: Core ML on macOS or a named device, else the reference executor.

    Raises
    ------
    RuntimeUnavailableError: for a device off macOS, or without the Neural Engine where ``REQUIRE_ANE`` is 1.
    """
    from harness.runtime import coreml
    from harness.runtime.diagnosis import require_neural_engine

    if device:
        coreml.check_available()
        return "coreml-remote"
    if os.environ.get("REQUIRE_ANE") == "1":
        require_neural_engine()
    if platform.system() != "Darwin":
        return "reference"
    coreml.check_available()  # pragma: macOS
    return "coreml"  # pragma: macOS
