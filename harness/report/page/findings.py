"""The lines at the top of a report: a verdict or a status, its sign and colour, and the number of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Tone:
    """A verdict's sign and the name of its colour, so that colour is never the only sign."""

    sign: str
    tone: str
    title: str
    about: str = ""


TONES = {
    "regression": Tone("\u25bc", "worse", "What got worse"),
    "suspicious": Tone("?", "doubt", "What is in doubt", "Worth a look, and no failure."),
    "improvement": Tone(
        "\u25b2",
        "better",
        "What got better",
        "An exact gate reports these too: ane-harness expect --update accepts them.",
    ),
    "accepted": Tone("\u2713", "plain", "What is worse and accepted"),
    "not comparable": Tone("\u2260", "plain", "What does not compare"),
    "insufficient data": Tone("\u2026", "plain", "What has too little data"),
    "unchanged": Tone("=", "plain", "What is unchanged"),
}
"""The verdicts of ``harness.judge.regress``, worst first."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the page's lists: a verdict that is more than ``unchanged``, or a row that is not ok."""

    verdict: str
    model: str
    title: str
    sentence: str
    sign: str
    tone: str


def finding(verdict: str, model: str, title: str, sentence: str) -> Finding:
    """Return a line; the title that the sentence begins with is shown by itself."""
    tone = TONES[verdict]
    return Finding(verdict, model, title, sentence.removeprefix(f"{title}: "), tone.sign, tone.tone)


@dataclass(frozen=True, slots=True)
class Group:
    """Findings of one verdict, as many as the top of the page lists."""

    title: str
    about: str
    findings: Sequence[Finding]
    left: int
    folded: bool


@dataclass(frozen=True, slots=True)
class Count:
    """The number of rows that have a verdict or a status."""

    name: str
    number: int
    sign: str
    tone: str
