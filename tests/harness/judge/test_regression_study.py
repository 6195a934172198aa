"""The study of the verdicts: few false alarms, few misses, both fewer than a fixed rule on the median gives."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.bench.regression_study import METHODS, Study, comparisons, nights

OURS, AS_USED, ALTERNATING = METHODS
DOCUMENT = Path(__file__).parents[3] / "docs" / "regressions.md"


def test_a_short_study_has_no_false_alarm_and_misses_nothing():
    rates = comparisons(40)
    assert rates[OURS].false == 0
    assert rates[OURS].found == 1
    assert rates[AS_USED].found < 0.8
    assert rates[ALTERNATING].found < 0.8


def test_a_short_history_has_no_false_alarm_and_finds_steps():
    rates = nights(30)
    assert rates.false == 0
    assert rates.found >= 28 / 30


@pytest.mark.slow
def test_the_whole_study_holds_and_stands_in_the_document():
    study = Study.of(1000)
    ours, as_used, alternating = (study.comparisons[name] for name in METHODS)
    assert ours.false <= 0.01
    assert ours.found >= 0.95
    assert ours.false < as_used.false
    assert ours.found > max(as_used.found, alternating.found)
    of_nights = study.nights["as above"]
    assert of_nights.false <= 0.01
    assert of_nights.found >= 0.95
    assert squeezed(study.tables()) in squeezed(DOCUMENT.read_text(encoding="utf-8"))


def squeezed(text):
    """Return text with the tables' padding left out."""
    return re.sub(r"[ -]+", " ", text)
