"""Measure a converted model's precision by comparing its logits on every run with the float32 PyTorch model's."""

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
from harness.system.text import plural

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.convert.conversion import Converted
    from harness.export import ExportedModel
    from harness.runtime import Executor

    Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Trial:
    """The runs that a model is measured on, with the float32 PyTorch model's results."""

    shape: Shape
    functions: tuple[str, ...]
    """Names of the program's functions."""
    runs: tuple[Array, ...]
    """Tokens, int32, (1, n) each."""
    expected: tuple[Array, ...]
    """The float32 PyTorch model's logits of each run, (n, vocabulary)."""
    reading: Reading | None = None
    """A longer text with the float32 PyTorch model's reading of it; None if none was requested."""

    @classmethod
    def of(cls, exported: ExportedModel) -> Trial:
        """Run the PyTorch model and return the trial."""
        expected = tuple(_logits(exported, tokens)[0, : tokens.shape[1]] for tokens in exported.runs)
        reading = None if exported.text is None else of_module(exported, exported.text)
        return cls(exported.shape, tuple(one.name for one in exported.functions), exported.runs, expected, reading)

    @property
    def problem(self) -> str:
        """Why the PyTorch model's logits cannot be compared with; empty if they are sound."""
        found = (logits_problem(*pair) for pair in zip(self.runs, self.expected, strict=True))
        if problem := next(filter(None, found), ""):
            return problem
        if self.reading is not None and (bad := int((self.reading.choices < 0).sum())):
            return f"the float32 PyTorch model's logits of {plural(bad, 'token')} of the text are NaN or infinite"
        return ""

    def arrays(self) -> dict[str, Array]:
        """Return the trial as arrays by name."""
        return {
            "shape": np.array(str(self.shape)),
            "functions": np.array(self.functions),
            **({} if self.reading is None else self.reading.arrays()),
            **{f"run_{number}": run for number, run in enumerate(self.runs)},
            **{f"expected_{number}": logits for number, logits in enumerate(self.expected)},
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Trial:
        """Return the trial that :meth:`arrays` came from."""
        kind, _, length = str(arrays["shape"]).partition(":")
        numbers = range(sum(name.startswith("run_") for name in arrays))
        return cls(
            Shape(kind, int(length)),
            tuple(map(str, arrays["functions"])),
            tuple(arrays[f"run_{number}"] for number in numbers),
            tuple(arrays[f"expected_{number}"] for number in numbers),
            Reading.from_arrays(arrays),
        )


def _logits(exported: ExportedModel, tokens: Array) -> Array:
    """Return the float32 PyTorch model's logits of tokens (1, n), shape (1, N, vocabulary)."""
    import torch

    if exported.logits is not None and tokens is exported.tokens:
        return exported.logits
    with torch.inference_mode():
        logits: Array = exported.module(torch.from_numpy(filled(tokens, exported.shape.length))).float().numpy()
    return logits


EQUAL = 1e-5
"""Logits that differ by no more than this share of the largest are equal: float32 sums differ by less, and float16,
whose numbers are 1e-3 apart, gives one number for all."""


def logits_problem(tokens: Array, logits: Array) -> str:
    """Return a sentence on logits that are not finite, or that say nothing of the next token; "" if they are sound.

    A program that agrees with such logits would be called fine, although the model is broken.

    Parameters
    ----------
    tokens: int32, (1, n).
    logits: those of the float32 PyTorch model, (n, vocabulary).
    """
    model = "of the float32 PyTorch model"
    if bad := int(logits.size - np.isfinite(logits).sum()):
        return f"{bad:,} of {logits.size:,} logits {model} are NaN or infinite"
    largest = np.abs(logits).max(axis=-1)
    if zero := int((largest == 0).sum()):
        every = f"every logit {model} is zero"
        return every if zero == len(logits) else f"all logits {model} are zero at {zero:,} of {len(logits):,} tokens"
    if logits.shape[-1] > 1 and bool((np.ptp(logits, axis=-1) <= EQUAL * largest).all()):
        return f"the logits {model} are equal over the whole vocabulary, so that they name no next token"
    if len(np.unique(tokens)) > 1 and bool((np.ptp(logits, axis=0) <= EQUAL * largest.max()).all()):
        return f"the logits {model} are the same at every token, so that they do not depend on the input"
    return ""


def measure(trial: Trial, model: Converted | str, policy: str) -> dict[str, float]:
    """Return the precision of a converted model over every run, executed by the reference executor.

    Parameters
    ----------
    trial: the runs, and the logits to compare with.
    model: the converted model, or a package's path.
    policy: the executor's precision policy.
    """
    return measure_with(trial, executors_of(trial, model, policy))


def measure_with(trial: Trial, executors: Mapping[str, Executor]) -> dict[str, float]:
    """Return the precision over every run of what some executors compute, one for each function of the program."""
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
