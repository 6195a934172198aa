"""Measure a converted model's precision: its logits on every run of tokens against the float32 PyTorch model's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness import metrics
from harness.feed import feed, filled
from harness.runtime.reference import ReferenceExecutor

if TYPE_CHECKING:
    import numpy as np

    from harness.convert import Converted
    from harness.export import ExportedModel

    Array = np.ndarray[Any, Any]


def expected_logits(exported: ExportedModel) -> tuple[Array, ...]:
    """Return the float32 PyTorch model's logits of each run, shape (n, vocabulary)."""
    import torch

    length = exported.shape.length
    with torch.inference_mode():
        return tuple(
            exported.module(torch.from_numpy(filled(tokens, length))).float().numpy()[0, : tokens.shape[1]]
            for tokens in exported.runs
        )


def measure(
    exported: ExportedModel, expected: tuple[Array, ...], converted: Converted, policy: str
) -> dict[str, float]:
    """Return the precision of a converted model over every run, executed by the reference executor.

    Parameters
    ----------
    exported: the model it was converted from, with the runs.
    expected: of :func:`expected_logits`.
    converted: the model.
    policy: the executor's.
    """
    executors = {one.name: ReferenceExecutor(converted, policy, one.name) for one in exported.functions}
    runs = []
    for tokens, logits in zip(exported.runs, expected, strict=True):
        positions, actual = feed(executors, exported.shape, tokens)
        runs.append(metrics.measure(logits[positions], actual))
    return metrics.over(runs)
