"""The child's side of the preparation: make packages, inputs and expected values from a zoo model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

import ane_rms
from harness.bench.messages import Item, Prepare, Prepared, Values, WideProgram, encode
from harness.convert.conversion import convert
from harness.errors import HarnessError
from harness.explain.engine_prediction import of_program
from harness.measure.feed import filled
from harness.plan.variants import VARIANTS
from harness.run.failure import failure_of
from harness.run.maker import Maker
from harness.run.steps import Steps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness.convert.conversion import Converted
    from harness.plan.run_plan import Case
    from harness.records.predictions import Prediction


def prepare(body: bytes, announce: Callable[[str], None]) -> Iterator[bytes]:
    """Answer a :class:`Prepare`."""
    job = msgspec.json.decode(body, type=Prepare)
    for item in _prepare(job, announce):
        yield encode(item)


def _prepare(job: Prepare, announce: Callable[[str], None]) -> Iterator[Item]:
    folder = Path(job.folder)
    maker = Maker(job.spec, job.options, announce)
    sound = False
    for case in job.cases:
        steps = Steps(announce)
        try:
            maker.prepare(steps)
            if not sound:
                yield _values(maker, folder)
                sound = True
            made = maker.make(case, steps)
        except HarnessError as error:
            yield Prepared(case, failure=failure_of(error))
            continue
        predictions, marks = _predictions(made.converted, case, job.families)
        yield Prepared(
            case,
            _save(made.converted, folder / f"{case.title.replace(' ', '-')}.mlpackage"),
            _norms(made.converted, case),
            steps.seconds(),
            facts=msgspec.structs.replace(made.facts, marks=(*made.facts.marks, *marks)),
            problem=made.problem,
            predictions=predictions,
        )
    if job.wide and sound:
        announce("convert off FLOAT32")
        wide = convert(maker.exported, VARIANTS["off"], compute_precision="FLOAT32")
        yield WideProgram(_save(wide, folder / "float32.mlpackage"))


def _values(maker: Maker, folder: Path) -> Values:
    """Keep the inputs of one predict, the beginning of the first run, and the trial."""
    values = Values(str(folder / "inputs.npz"), trial=str(folder / "trial.npz"))
    trial, inputs = maker.trial, maker.exported.inputs
    tokens = filled(trial.runs[0], trial.shape.length)[:, : inputs["input_ids"].shape[1]]
    arrays: dict[str, Any] = {**inputs, "input_ids": tokens}
    np.savez(values.inputs, **arrays)
    np.savez(values.trial, **trial.arrays())  # type: ignore[arg-type]
    return values


def _norms(converted: Converted, case: Case) -> tuple[str, ...]:
    """Return the names of a program's fused norms or, if none is fused, of those it contains."""
    report = ane_rms.FusionReport()
    if VARIANTS[case.variant].through == "ane_rms.convert":
        report = ane_rms.report(converted.model)
    return tuple(site.name for site in (report.fused or ane_rms.find(converted.program).fused))


def _predictions(
    converted: Converted, case: Case, families: tuple[str, ...]
) -> tuple[tuple[Prediction, ...], tuple[str, ...]]:
    """Return the engine model's predictions for a program, or a mark on why there is none; nothing is run."""
    try:
        return tuple(of_program(converted.model, case.title, families, [])) if families else (), ()
    except HarnessError as error:
        return (), (f"no prediction of the Neural Engine: {error}",)


def _save(converted: Converted, path: Path) -> str:
    converted.save(path)
    return str(path)
