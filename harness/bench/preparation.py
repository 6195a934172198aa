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
from harness.plan.variants import VARIANTS
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
    maker.prepare(Steps(announce))
    yield _values(maker, folder)
    for case in job.cases:
        steps = Steps(announce)
        try:
            made = maker.make(case, steps)
        except HarnessError as error:
            yield Prepared(case, reason=str(error))
            continue
        yield Prepared(
            case,
            _save(made.converted, folder / f"{case.title.replace(' ', '-')}.mlpackage"),
            _norms(made.converted, case),
            steps.seconds(),
            facts=made.facts,
            problem=made.problem,
            predictions=_predictions(made.converted, case, job.families),
        )
    if job.wide:
        announce("convert off FLOAT32")
        wide = convert(maker.exported, VARIANTS["off"], compute_precision="FLOAT32")
        yield WideProgram(_save(wide, folder / "float32.mlpackage"))


def _values(maker: Maker, folder: Path) -> Values:
    """Keep the inputs of one predict, and the float32 PyTorch model's logits of the tokens that it takes."""
    values = Values(str(folder / "inputs.npz"), str(folder / "expected.npz"))
    arrays: dict[str, Any] = dict(maker.exported.inputs)
    np.savez(values.inputs, **arrays)
    np.savez(values.expected, maker.trial.expected[0][None, : arrays["input_ids"].shape[1]])
    return values


def _norms(converted: Converted, case: Case) -> tuple[str, ...]:
    """Return the names of a program's fused norms or, if none is fused, of those it contains."""
    report = ane_rms.FusionReport()
    if VARIANTS[case.variant].through == "ane_rms.convert":
        report = ane_rms.report(converted.model)
    return tuple(site.name for site in (report.fused or ane_rms.find(converted.program).fused))


def _predictions(converted: Converted, case: Case, families: tuple[str, ...]) -> tuple[Prediction, ...]:
    """Return the engine model's predictions for a program, none if it cannot be read; nothing is run."""
    try:
        return tuple(of_program(converted.model, case.title, families, [])) if families else ()
    except HarnessError:
        return ()


def _save(converted: Converted, path: Path) -> str:
    converted.save(path)
    return str(path)
