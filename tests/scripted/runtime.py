"""The handlers of a child process whose Core ML is scripted: the harness's own, over `tests.scripted.native`.

Its executor is named ``scripted``, which no results folder takes.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from harness.bench import measurement, probing
from harness.bench.messages import Prepare, Prepared, Values, WideProgram, encode
from harness.interpreter import ReferenceModel
from harness.records.machine import Condition
from harness.runtime import EXECUTORS, coreml
from tests.scripted import native

NAME = "scripted"


class ScriptedExecutor(coreml.CoreMLExecutor):
    """The Core ML executor, which says that it is none."""

    name = NAME


EXECUTORS[NAME] = f"{__name__}:ScriptedExecutor"
native.install()
_readings = 0


def condition():
    """Return the next reading of the script."""
    global _readings  # noqa: PLW0603 - how often it was read, over the process
    readings = native.script("machine").get("readings", [{"power": "AC", "thermal": "nominal"}])
    _readings += 1
    return msgspec.convert(readings[min(_readings, len(readings)) - 1], Condition)


measurement.condition = condition
measurement.LOOK_SECONDS = 0.2


def measure(body, announce):
    """Answer as `harness.bench.measurement.measure`."""
    global _readings  # noqa: PLW0603
    _readings = 0
    native.clear_compiled()
    yield from measurement.measure(body, announce)


def answer(body, announce):
    """Answer as `harness.bench.probing.answer`."""
    yield from probing.answer(body, announce)


def place(body, announce):
    """Answer as `harness.bench.measurement.place`."""
    yield from measurement.place(body, announce)


def prepare(body, announce):
    """Make two norms of every case, instead of a zoo model; the script of ``prepare`` may end it."""
    job = msgspec.json.decode(body, type=Prepare)
    folder = Path(job.folder)
    announce("export")
    native.happen(native.script("prepare"), "export")
    inputs = {"x": np.random.default_rng(0).standard_normal((1, 4, 64)).astype(np.float32)}
    np.savez(folder / "inputs.npz", **inputs)
    plain = native.package(folder / "float32.mlpackage")
    np.savez(folder / "expected.npz", next(iter(ReferenceModel(plain, "fp32").predict(inputs).values())))
    yield encode(Values(str(folder / "inputs.npz"), str(folder / "expected.npz")))
    for case in job.cases:
        announce(f"convert {case.title}")
        path = native.package(folder / f"{case.title.replace(' ', '-')}.mlpackage", case.lowering)
        yield encode(Prepared(case, str(path), ("first", "second"), {"convert": 0.1}))
    if job.wide:
        yield encode(WideProgram(str(plain)))
