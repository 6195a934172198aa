"""Measure a converted model's precision: its logits on every run of tokens against the float32 PyTorch model's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.measure import metrics
from harness.measure.feed import feed, filled
from harness.measure.text_reading import Reading, of_module
from harness.plan.shapes import Shape
from harness.runtime import Source
from harness.runtime.reference import ReferenceExecutor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.convert.conversion import Converted
    from harness.export import ExportedModel

    Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Trial:
    """What a model is run on, and what the float32 PyTorch model makes of it."""

    shape: Shape
    functions: tuple[str, ...]
    """Names of the program's functions."""
    runs: tuple[Array, ...]
    """Tokens, int32, (1, n) each."""
    expected: tuple[Array, ...]
    """The float32 PyTorch model's logits of each run, (n, vocabulary)."""
    reading: Reading | None = None
    """A longer text, and what the float32 PyTorch model makes of it; None where none was asked for."""

    @classmethod
    def of(cls, exported: ExportedModel) -> Trial:
        """Run the PyTorch model."""
        import torch

        with torch.inference_mode():
            expected = tuple(
                exported.module(torch.from_numpy(filled(tokens, exported.shape.length)))
                .float()
                .numpy()[0, : tokens.shape[1]]
                for tokens in exported.runs
            )
        reading = None if exported.text is None else of_module(exported, exported.text)
        return cls(exported.shape, tuple(one.name for one in exported.functions), exported.runs, expected, reading)

    @property
    def problem(self) -> str:
        """What makes the PyTorch model's own logits nothing to compare with; empty where they are sound."""
        for logits in self.expected:
            if bad := int(logits.size - np.isfinite(logits).sum()):
                return f"{bad:,} of {logits.size:,} logits of the float32 PyTorch model are NaN or infinite"
            if not logits.any():
                return "every logit of the float32 PyTorch model is zero"
        return ""

    def arrays(self) -> dict[str, Array]:
        """Return all of it as arrays by name."""
        return {
            "shape": np.array(str(self.shape)),
            "functions": np.array(self.functions),
            **({} if self.reading is None else self.reading.arrays()),
            **{f"run_{number}": run for number, run in enumerate(self.runs)},
            **{f"expected_{number}": logits for number, logits in enumerate(self.expected)},
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Trial:
        """Return what :meth:`arrays` was made from."""
        kind, _, length = str(arrays["shape"]).partition(":")
        numbers = range(sum(name.startswith("run_") for name in arrays))
        return cls(
            Shape(kind, int(length)),
            tuple(map(str, arrays["functions"])),
            tuple(arrays[f"run_{number}"] for number in numbers),
            tuple(arrays[f"expected_{number}"] for number in numbers),
            Reading.from_arrays(arrays),
        )


def measure(trial: Trial, model: Converted | str, policy: str) -> dict[str, float]:
    """Return the precision of a converted model over every run, executed by the reference executor.

    Parameters
    ----------
    trial: the runs, and what to expect of them.
    model: as converted, or a package's path.
    policy: the executor's.
    """
    executors = executors_of(trial, model, policy)
    runs = []
    for tokens, logits in zip(trial.runs, trial.expected, strict=True):
        positions, actual = feed(executors, trial.shape, tokens)
        runs.append(metrics.measure(logits[positions], actual))
    return metrics.over(runs)


def executors_of(trial: Trial, model: Converted | str, policy: str) -> dict[str, ReferenceExecutor]:
    """Return a reference executor for each function of a converted model, or of the package at a path."""
    return {
        name: ReferenceExecutor(Source(model, function=name), policy)
        if isinstance(model, str)
        else ReferenceExecutor(model, policy, name)
        for name in trial.functions
    }
