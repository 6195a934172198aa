"""The result of a comparison: one :class:`Verdict` per judged figure, with a sentence."""

from __future__ import annotations

import msgspec

KINDS = ("regression", "suspicious", "improvement", "accepted", "not comparable", "insufficient data", "unchanged")
"""The kinds of verdicts, in the order of the tables:

- ``regression``: worse, beyond the gate's tolerance or with statistical certainty;
- ``suspicious``: a time changed significantly but within the noise floor, or beyond it but not significantly; or
  something that is neither better nor worse changed. Worth a look, never a failure;
- ``improvement``: better; the expectation should be updated;
- ``accepted``: worse, and accepted with a reason in ``results/baselines/accepted.jsonl``;
- ``not comparable``: another machine, condition, definition or policy, or nothing to compare with;
- ``insufficient data``: too few samples, or too noisy ones, to tell;
- ``unchanged``: as before, and the data would have shown a change.
"""


class Verdict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One judged figure of one row."""

    kind: str
    """One of :data:`KINDS`."""
    model: str
    title: str
    """The row in words; see :attr:`harness.records.schema.Record.title`."""
    measure: str
    """The figure judged: ``row``, ``status``, ``fused``, ``ops_after``, ``rel_l2``, ``predict`` ..., or ``gates`` for
    all that must be equal."""
    sentence: str
    """A sentence on the finding, naming model, site and figures."""
    row: tuple[str, ...] = ()
    """The row's identity, :attr:`harness.records.schema.Record.row`; empty for a whole model."""
    base: float | str | None = None
    """The figure before: a count, a metric, or a median in seconds."""
    candidate: float | str | None = None
    ratio: float | None = None
    """For a time, the ratio of the candidate's to the base's; above 1 is slower."""
    interval: tuple[float, float] | None = None
    """The interval of that ratio, at :data:`harness.judge.median_interval.CONFIDENCE`."""
    p: float | None = None
    """Probability of a difference as large by chance, corrected for the number of times compared at once."""
    samples: int | None = None
    """Number of samples on the side that has fewer."""
    site: str = ""
    """The norm site in question."""
    label: str = ""
    """A note to show beside the figure: ``across machines``."""


def worst(verdicts: list[Verdict]) -> str:
    """Return the worst kind among verdicts, or ``unchanged`` if there are none."""
    return min((verdict.kind for verdict in verdicts), key=KINDS.index, default="unchanged")
