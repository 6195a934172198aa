"""Run two models on the same input, and find the first op at which they diverge and the worst after it.

Each side is a package or a key of the zoo. A key means the zoo's PyTorch model, converted plainly at FLOAT32 and run in
float32. That gives PyTorch's own result to within rounding, and the remaining distance is reported.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.errors import InputError
from harness.interpreter import ReferenceModel, inspect
from harness.interpreter.package import package_path
from harness.measure.random_inputs import random_inputs
from harness.zoo.subject import is_checkpoint, subject_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from harness.interpreter.inspect import Comparison

    Arrays = dict[str, np.ndarray[Any, Any]]


@dataclass(frozen=True, slots=True)
class Side:
    """One model of a comparison: its title, its inputs if it has some, its distance from PyTorch."""

    name: str
    model: ReferenceModel
    inputs: Arrays | None = None
    from_torch: float | None = None
    """Relative L2 distance of its output from the eager PyTorch model's, for a zoo model."""


def side(target: str, precision: str) -> Side:
    """Return the model that a package's path, a zoo key or a checkpoint names.

    Raises
    ------
    UnknownNameError: for a key that is not in the zoo, or an unknown policy.
    CheckpointError: for a checkpoint that cannot be read.
    PackageError, UnsupportedOpError: for a package that cannot be read or run.
    """
    path = None if is_checkpoint(target) else package_path(target)
    return _zoo_side(target) if path is None else Side(target, ReferenceModel(path, precision))


def _zoo_side(key: str) -> Side:
    import torch

    from harness.convert.conversion import convert
    from harness.export import export
    from harness.measure import metrics
    from harness.plan.variants import VARIANTS

    spec, checkpoint = subject_of(key)
    exported = export(spec, checkpoint=checkpoint)
    model = ReferenceModel(convert(exported, VARIANTS["off"], compute_precision="FLOAT32").model, "fp32")
    with torch.inference_mode():
        expected = exported.module(*(torch.from_numpy(value) for value in exported.inputs.values())).numpy()
    (actual,) = model.predict(exported.inputs).values()
    return Side(f"{key} (PyTorch)", model, exported.inputs, metrics.rel_l2(expected, actual))


def inputs_for(first: Side, second: Side, given: Path | None, seed: int = 0) -> Arrays:
    """Return the input of both models: from a file, from a zoo model, or seeded numbers of the right shapes.

    Raises
    ------
    InputError: if the file cannot be read, or holds no arrays by name.
    """
    if given is not None:
        try:
            with np.load(given, allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
        except (OSError, ValueError, AttributeError) as error:
            raise InputError(f"{given}: not an .npz file of arrays by name: {error}") from None
    for one in (first, second):
        if one.inputs is not None:
            return one.inputs
    return random_inputs(first.model.function, seed)


def compare(first: Side, second: Side, data: Mapping[str, Any], tolerance: float, worst: int) -> Comparison:
    """Run both models and compare them op by op. Inputs whose names differ are matched by order.

    Raises
    ------
    InputError: if the data do not fit a model.
    """
    return inspect.compare(first.model, second.model, data, tolerance, worst)


def save(one: Side, data: Mapping[str, Any], path: Path) -> None:
    """Write every value that a model's ops produce into an .npz file.

    Raises
    ------
    OutputError: if the file cannot be written.
    """
    inspect.record(one.model, data, floats_only=False).save(path)
