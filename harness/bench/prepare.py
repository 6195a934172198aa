"""The child's side of the preparation: a zoo model becomes packages, its inputs, and the values they must give."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

import ane_rms
from ane_rms.passes.strategies import DEFAULT_STRATEGY
from harness.bench.messages import Item, Prepare, Prepared, Values, WideProgram, encode
from harness.convert import Converted, convert
from harness.errors import HarnessError
from harness.export import ExportedModel, export
from harness.shapes import Shape
from harness.variants import VARIANTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness.plan import Case


def prepare(body: bytes, announce: Callable[[str], None]) -> Iterator[bytes]:
    """Answer a :class:`Prepare`."""
    job = msgspec.json.decode(body, type=Prepare)
    for item in _prepare(job, announce):
        yield encode(item)


def _prepare(job: Prepare, announce: Callable[[str], None]) -> Iterator[Item]:
    options, folder = job.options, Path(job.folder)
    announce("export")
    shape = Shape(options.shape, options.sequence_length)
    exported = export(job.spec, size=options.size, frontend=options.frontend, shape=shape)
    inputs, expected = str(folder / "inputs.npz"), str(folder / "expected.npz")
    arrays: dict[str, Any] = dict(exported.inputs)
    np.savez(inputs, **arrays)
    np.savez(expected, _eager(exported))
    yield Values(inputs, expected)
    for case in job.cases:
        announce(f"convert {case.title}")
        begin = time.perf_counter()
        try:
            converted = _convert(exported, case, options.compute_precision)
        except HarnessError as error:
            yield Prepared(case, reason=str(error))
            continue
        seconds = {"convert": time.perf_counter() - begin}
        yield Prepared(case, _save(converted, folder / f"{_stem(case)}.mlpackage"), _norms(converted, case), seconds)
    if job.wide:
        announce("convert off FLOAT32")
        wide = convert(exported, VARIANTS["off"], compute_precision="FLOAT32")
        yield WideProgram(_save(wide, folder / "float32.mlpackage"))


def _convert(exported: ExportedModel, case: Case, precision: str) -> Converted:
    return convert(
        exported, VARIANTS[case.variant], compute_precision=precision, lowering=case.lowering or DEFAULT_STRATEGY
    )


def _norms(converted: Converted, case: Case) -> tuple[str, ...]:
    """Return the names of a program's norms: those fused, or, where nothing was, those that stand in it."""
    report = ane_rms.FusionReport()
    if VARIANTS[case.variant].through == "ane_rms.convert":
        report = ane_rms.report(converted.model)
    return tuple(site.name for site in (report.fused or ane_rms.find(converted.program).fused))


def _eager(exported: ExportedModel) -> np.ndarray:
    """Return the float32 PyTorch model's logits of the tokens that one predict takes, the first of the run."""
    import torch

    with torch.inference_mode():
        logits: np.ndarray = exported.module(torch.from_numpy(exported.tokens)).float().numpy()
    return logits[:, : exported.inputs["input_ids"].shape[1]]


def _save(converted: Converted, path: Path) -> str:
    converted.model.save(str(path))
    return str(path)


def _stem(case: Case) -> str:
    return case.title.replace(" ", "-")
