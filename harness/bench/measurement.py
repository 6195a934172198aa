"""The child's side of a measurement: load each program, check its values, time all alternately.

A runtime that crashes ends only this process. Before each load and each predict the number of the program is written
to a byte of a mapped file, so that the parent knows which one ended the process; this costs one store.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import stat
import sys
import time
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from harness.bench.condition import condition
from harness.bench.latency import Sample, Side, Stopwatch
from harness.bench.messages import Checked, Item, Loaded, Measure, Planned, Refused, Remark, Seen, Taken, encode
from harness.measure import metrics
from harness.measure.model_precision import Trial, measure_with
from harness.records.outcomes import outcome_of, worst
from harness.runtime import open_executor
from harness.system.text import squeezed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import numpy.typing as npt

    from harness.runtime import Executor

    Array = npt.NDArray[Any]
    Announce = Callable[[str], None]

REFUSALS = ("ANECCompile() FAILED", "ANECompile() failed", "MILCompilerForANE error")
"""The texts that Core ML prints if the Neural Engine's compiler refuses a program. Core ML then runs the program on
another unit without telling its caller, and that unit's times would be recorded as the Neural Engine's."""

LOOK_SECONDS = 5.0
"""Interval at which heat and power are read during a sustained stretch."""


def measure(body: bytes, announce: Announce) -> Iterator[bytes]:
    """Answer a :class:`Measure`."""
    job = msgspec.json.decode(body, type=Measure)
    with Teller(job.tell) as tell:
        for item in _Measurement(job, announce, tell).run():
            yield encode(item)


class Teller:
    """The byte that holds the number of the part being executed."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> Callable[[int], None]:
        with open(self._path, "r+b") as stream:  # noqa: PTH123 - mmap wants the descriptor
            self._map = mmap.mmap(stream.fileno(), 1)
        return self._tell

    def __exit__(self, *_: object) -> None:
        self._map.close()

    def _tell(self, part: int) -> None:
        self._map[0] = part + 1


class _Measurement:
    def __init__(self, job: Measure, announce: Announce, tell: Callable[[int], None]) -> None:
        self.job, self.announce, self.tell = job, announce, tell
        files = [part.inputs or job.values.inputs for part in job.parts]
        read = {path: _arrays(path) for path in dict.fromkeys(files)}
        self.inputs = [read[path] for path in files]
        self.trial = Trial.from_arrays(_arrays(job.values.trial)) if job.values.trial else None
        self.ready: dict[int, tuple[Executor, Any]] = {}

    def run(self) -> Iterator[Item]:
        yield Seen("before", condition())
        try:
            for part in range(len(self.job.parts)):
                yield from self._prepared(part)
            if self.ready and self.job.samples:
                yield from self._timed()
            for part in self.ready if self.job.placement else ():
                yield from self._placed(part)
        finally:
            for executor, _ in self.ready.values():
                executor.close()
        yield Seen("after", condition())

    def _prepared(self, part: int) -> Iterator[Item]:
        """Load a program and predict once; refuse it if that fails or if the Neural Engine's compiler refused it."""
        name, source = self.job.parts[part].name, self.job.parts[part].source
        begin = output_size()
        self.tell(part)
        try:
            executor = open_executor(self.job.executor, source)
            seconds = executor.load(lambda stage: self.announce(f"{name}: {stage}"))
            self.announce(f"{name}: first predict")
            state = executor.make_state()
            start = time.perf_counter()
            outputs = executor.predict(self.inputs[part], state)
            first = time.perf_counter() - start
            over_runs = {} if self.trial is None else measure_with(self.trial, {"main": executor})
        except Exception as error:  # noqa: BLE001 - whatever a program does, the others are measured
            yield Refused(part, f"{type(error).__name__}: {squeezed(error)}", output_since(begin))
            return
        finally:
            self.tell(-1)
        said = output_since(begin)
        if refusal := next((text for text in REFUSALS if text in said), ""):
            executor.close()
            yield Refused(part, f"{refusal}: the Neural Engine's compiler refused the program", said)
            return
        self.ready[part] = executor, state
        yield Loaded(part, executor.name, seconds, _machine(executor))
        yield self._checked(part, outputs, first, over_runs)

    def _checked(self, part: int, outputs: dict[str, Array], first: float, over_runs: dict[str, float]) -> Checked:
        actual = next(iter(outputs.values()))
        if self.job.values.keep and part == 0:
            np.savez(self.job.values.keep, actual)
        expected = None
        if path := self.job.parts[part].expected or self.job.values.expected:
            with np.load(path) as stored:
                expected = next(iter(stored.values()))
        found = metrics.measure(expected, actual) if expected is not None else {}
        outcome = worst(outcome_of(found), outcome_of(over_runs))
        finite = {name: value if np.isfinite(value) else None for name, value in (found or over_runs).items()}
        return Checked(part, first, finite, outcome, not_finite(actual))

    def _timed(self) -> Iterator[Item]:
        order = list(self.ready)
        watch = Stopwatch(
            [self._side(part) for part in order],
            note=lambda index: self.tell(order[index] if index >= 0 else -1),
        )
        self.announce("warm up")
        warmth = watch.warm_up()
        yield from _taken("warm_up", warmth.samples, order)
        if not warmth.stable:
            yield Remark("warm-up not stable")
        self.announce("measure")
        burst = [sample for block in watch.burst(self.job.samples, self.job.burst_s) for sample in block]
        yield from _taken("predict", burst, order)
        if self.job.sustain_s:
            self.announce("sustain")
            yield from self._sustained(watch, order)

    def _sustained(self, watch: Stopwatch, order: list[int]) -> Iterator[Item]:
        pending: list[Sample] = []
        looked = time.monotonic()
        for block in watch.sustained(self.job.sustain_s):
            pending += block
            if time.monotonic() - looked > LOOK_SECONDS:
                yield from _taken("sustained", pending, order)
                yield Seen("while", condition())
                pending, looked = [], time.monotonic()
        yield from _taken("sustained", pending, order)
        yield Seen("while", condition())

    def _side(self, part: int) -> Side:
        executor, state = self.ready[part]
        inputs = self.inputs[part]
        return Side(
            self.job.parts[part].name,
            lambda: executor.predict(inputs, state),
            lambda: executor.timings().predict_s,
        )

    def _placed(self, part: int) -> Iterator[Item]:
        """Yield the plan, if there is one; a missing plan is not counted against the program."""
        self.announce(f"{self.job.parts[part].name}: plan")
        self.tell(part)
        try:
            ops = self.ready[part][0].placement()
        except Exception as error:  # noqa: BLE001 - MLComputePlan needs macOS 14.4, and times were measured without it
            yield Remark(f"no plan: {squeezed(error)}")
        else:
            if ops:
                yield Planned(part, ops)
        finally:
            self.tell(-1)


def place(body: bytes, announce: Announce) -> Iterator[bytes]:
    """Answer a :class:`Measure` with plans only: load each program without predicting."""
    job = msgspec.json.decode(body, type=Measure)
    for number, part in enumerate(job.parts):
        executor = open_executor(job.executor, part.source)
        with contextlib.closing(executor):
            seconds = executor.load(lambda stage, name=part.name: announce(f"{name}: {stage}"))  # type: ignore[misc]
            yield encode(Loaded(number, executor.name, seconds, _machine(executor)))
            announce(f"{part.name}: plan")
            yield encode(Planned(number, executor.placement()))


def _taken(kind: str, samples: Iterable[Sample], order: list[int]) -> Iterator[Taken]:
    for index, part in enumerate(order):
        own = [sample for sample in samples if sample.side == index]
        framework = tuple(sample.framework_s for sample in own if sample.framework_s is not None)
        yield Taken(part, kind, tuple(sample.wall_s for sample in own), framework)


def _arrays(path: str) -> dict[str, Array]:
    with np.load(path) as stored:
        return dict(stored)


def not_finite(actual: Array) -> str:
    """Return a sentence with the number of NaN and infinite values; "" if all are finite."""
    bad = int(np.size(actual) - np.isfinite(actual).sum())
    return f"{bad} of {np.size(actual)} values are NaN or infinite" if bad else ""


def _machine(executor: Executor) -> dict[str, str]:
    """Return the system and kind of a connected device; these replace this machine's."""
    device = getattr(executor, "device", None)
    if device is None:
        return {}
    from harness.runtime.remote import describe

    return describe(device)


def output_size() -> int:
    """Return the position in the process's stderr if that is a file, as it is in a child of `harness.workers`."""
    sys.stderr.flush()
    found = os.fstat(2)
    return found.st_size if stat.S_ISREG(found.st_mode) else -1


def output_since(begin: int) -> str:
    """Return the text printed since then, by native code as well; "" if stderr is not a file."""
    end = output_size()
    if begin < 0 or end <= begin:
        return ""
    return os.pread(2, min(end - begin, 1 << 16), begin).decode(errors="replace").strip()
