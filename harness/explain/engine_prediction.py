"""Predict time on the Neural Engine by the engine model, for a zoo model, a checkpoint, or a package on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

import ane_rms
from harness.engine.hazards import Peaks
from harness.engine.prediction import predict
from harness.explain.fusion import of_package
from harness.interpreter import ReferenceModel
from harness.interpreter.reference_model import load
from harness.measure.calibration import Calibration
from harness.zoo import catalog
from harness.zoo.rescale_choice import factor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from harness.export import ExportedModel
    from harness.records.predictions import Prediction
    from harness.zoo.checkpoint import Checkpoint

CALIBRATION = "fp32"
"""The policy that calibration runs under; it is wide enough to show values that float16 would lose."""


def of_model(
    key: str,
    families: Sequence[str],
    variants: Sequence[str],
    *,
    lowering: str,
    frontend: str = "trace",
    rescale: tuple[str, str] = ("", "peaks"),
) -> list[Prediction]:
    """Convert a zoo model in each variant and return a prediction for each family.

    Parameters
    ----------
    key: of the zoo.
    families: keys of the data file.
    variants, lowering, frontend: those of the conversion.
    rescale: ``auto``, ``off``, a power of two such as ``2^-3``, or empty for the zoo file's choice; and the aim.

    Raises
    ------
    UnknownNameError: for a key that is not in the zoo.
    ExportError, ConversionError: if the model cannot be converted.
    """
    from harness.errors import check_name
    from harness.export import export

    known = catalog.load_zoo()
    spec = known[check_name("model", key, known)]
    exported = export(spec, frontend=frontend)
    asked = _rescale(exported, rescale[0] or spec.rescale, rescale[1])
    return _of_exported(exported, key, families, variants, lowering, asked)


def of_checkpoint(
    weights: Checkpoint,
    prompts: tuple[str, ...],
    families: Sequence[str],
    variants: Sequence[str],
    *,
    lowering: str,
    rescale: tuple[str, str] = ("", "peaks"),
) -> list[Prediction]:
    """Convert a checkpoint in each variant and return a prediction for each family; rescale is ``auto`` by default.

    Raises
    ------
    ExportError, ConversionError: if the model cannot be converted.
    """
    from harness.export import export
    from harness.zoo.checkpoint import spec_of

    spec = spec_of(weights, catalog.load_zoo(unusable=lambda _key, _error: None))
    exported = export(spec, size="full", checkpoint=weights, prompts=prompts)
    asked = _rescale(exported, rescale[0] or "auto", rescale[1])
    return _of_exported(exported, spec.key, families, variants, lowering, asked)


def _rescale(exported: ExportedModel, choice: str, aim: str) -> Callable[[ExportedModel], Any] | None:
    """Return a function that gives the rescale of each function of a model; None for ``off``."""
    if choice == "off":
        return None
    if choice != "auto":
        return lambda _: factor(choice)
    calibration = Calibration(exported.runs)
    return lambda function: calibration.rescaling(function, aim)


def _of_exported(
    exported: ExportedModel,
    name: str,
    families: Sequence[str],
    variants: Sequence[str],
    lowering: str,
    rescale: Callable[[ExportedModel], Any] | None,
) -> list[Prediction]:
    from harness.convert.conversion import convert
    from harness.plan.variants import VARIANTS

    found: list[Prediction] = []
    for variant in variants:
        asked = rescale if VARIANTS[variant].through != "ct.convert" else None
        converted = convert(exported, VARIANTS[variant], lowering=lowering, rescale=asked)
        title = f"{name} {variant}" + (f" {lowering}" if variant == "on" else "")
        batches = (
            [_batch(exported, tokens) for tokens in exported.runs] if set(exported.inputs) == {"input_ids"} else []
        )
        norms = ane_rms.report(converted.model).counts()
        found += of_program(converted.model, title, families, batches, norms=norms)
    return found


def _batch(exported: ExportedModel, tokens: Any) -> dict[str, Any]:
    """Return tokens (1, n) padded with token 0 to the program's length."""
    width = exported.inputs["input_ids"].shape[1]
    return {"input_ids": np.pad(tokens[:, :width], ((0, 0), (0, max(width - tokens.shape[1], 0))))}


def of_file(path: Path, families: Sequence[str]) -> list[Prediction]:
    """Return a prediction for each family and each function of a package; nothing is run.

    Raises
    ------
    PackageError: if there is no package, or it cannot be read.
    """
    return of_program(path, path.name, families, [], norms=of_package(path).counts())


def of_program(
    model: Any, title: str, families: Sequence[str], batches: Sequence[Mapping[str, Any]], *, norms: str = ""
) -> list[Prediction]:
    """Return predictions for a program. If inputs are given, it is run in float32 first to measure its peaks.

    Parameters
    ----------
    model: anything that ``ReferenceModel`` takes.
    title: the name of the predictions' subject.
    families: keys of the data file.
    batches: inputs by name, for the default function.
    norms: the counts of the program's norms, for the reader.
    """
    program = load(model)
    found: list[Prediction] = []
    for name, function in program.functions.items():
        peaks = _peaks(program, batches) if batches and name == program.default else None
        subject = title if len(program.functions) == 1 else f"{title} {name}"
        made = [predict(function, family, subject, peaks) for family in families]
        found += [msgspec.structs.replace(one, norms=norms) for one in made]
    return found


def _peaks(program: Any, batches: Sequence[Mapping[str, Any]]) -> Peaks:
    peaks, model = Peaks(), ReferenceModel(program, CALIBRATION)
    with model.listening(peaks):
        for batch in batches:
            model.predict(batch)
    return peaks
