"""The traits of a record's figures (counts, metrics, times): which direction is better, and how they are shown."""

from __future__ import annotations

from harness.measure.metrics import METRICS, spec_of
from harness.records.baselines import COUNTS
from harness.records.outcomes import OUTCOMES
from harness.records.schema import SHARE
from harness.records.series import seconds

OUTCOME = "outcome"
"""The outcome as a figure: its rank in ``harness.records.outcomes.OUTCOMES``, 0 for the best."""

EXACT = frozenset({*COUNTS, OUTCOME})
"""Figures without noise: every difference is a change."""


def higher_is_better(measure: str) -> bool | None:
    """Return whether more is better; None for a count that is neither better nor worse. Times are better if shorter."""
    if measure in COUNTS:
        return COUNTS[measure]
    return measure in METRICS and METRICS[measure].higher_is_better


def unit(measure: str) -> str:
    """Return ``1`` for a count, nothing for a metric or a share, and ``s`` for a time."""
    return "1" if measure in EXACT else "" if measure in METRICS or measure.startswith(SHARE) else "s"


def text(measure: str, value: float | None) -> str:
    """Return a figure as people read it: a count, a metric, a share, or a time with its unit; ``missing`` for None."""
    if value is None:
        return "missing"
    if measure == OUTCOME:
        return OUTCOMES[int(value)]
    if measure in COUNTS:
        return f"{value:.0f}"
    if measure.startswith(SHARE):
        return f"{value:.3g}"
    return spec_of(measure).figure(value) if measure in METRICS else seconds(value)
