"""The question of a bisection: which figure of which row, between which two runs, and which inputs of them differ."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING

from harness.errors import ArgumentError, RecordError
from harness.judge import figures
from harness.judge.severity import size
from harness.judge.standing import standing
from harness.records.lookup import find
from harness.records.verdicts import Verdict
from harness.system.text import MODEL_KEY

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from harness.records.lookup import Side
    from harness.records.machine import Environment
    from harness.records.schema import Record
    from harness.records.series import Change, Series

SUBJECT = ("model", "variant", "lowering", "shape", "compression")
"""Fields that tell the rows of one run apart, whatever they are measured with."""
NOT_WALKED = ("python", "ane-rms")
"""Versions of a record that a bisection cannot install one by one."""


@dataclass(frozen=True, slots=True)
class End:
    """One of the two runs."""

    run_id: str
    figure: float | None
    """None if the figure is missing."""
    record: Record
    """The row's record; if the run has none, any record of the run."""

    @property
    def environment(self) -> Environment:
        """The machine and the versions of the run."""
        return self.record.environment

    @property
    def commit(self) -> str:
        """The commit that the run was made at."""
        return self.environment.git_commit

    @property
    def pins(self) -> tuple[tuple[str, str], ...]:
        """Name and version of the packages that decide the result, without the local part such as ``+cpu``."""
        versions = self.environment.versions.items()
        return tuple((name, public(one)) for name, one in sorted(versions) if name not in NOT_WALKED and one)


@dataclass(frozen=True, slots=True)
class Question:
    """A figure that got worse between two runs."""

    model: str
    measure: str
    good: End
    bad: End

    @property
    def about(self) -> Record:
        """A record of the row whose figure got worse."""
        return self.good.record

    def is_bad(self, figure: float | None) -> bool | None:
        """Return whether a figure is nearer to the bad run's than to the good one's; None if it cannot be told."""
        before, after = self.good.figure, self.bad.figure
        if after is None or before is None:
            return figure is None
        if figure is None or not math.isfinite(figure):
            return None
        return abs(figure - after) < abs(figure - before)

    def measured(self, good: float | None, bad: float | None) -> Question | None:
        """Return the question with both figures as measured here; None if they do not show at least half of the change.

        Another machine has other times, but the slower code is the slower there too.
        """
        before, after = self.good.figure, self.bad.figure
        if before is None or after is None:
            return self if good is not None and bad is None else None
        if good is None or bad is None:
            return None
        share = _share(before, after, good, bad)
        return replace(self, good=replace(self.good, figure=good), bad=replace(self.bad, figure=bad)) if share else None

    @property
    def key(self) -> str:
        """The question as text, which differs for every other question."""
        return " ".join((self.model, self.measure, self.good.run_id, self.bad.run_id, *self.about.row))


def _share(before: float, after: float, good: float, bad: float) -> bool:
    """Return whether two figures differ at least half as much as two others, by ratio where all are positive."""
    if min(before, after, good, bad) > 0:
        before, after, good, bad = (math.log(one) for one in (before, after, good, bad))
    return (bad - good) / (after - before) >= 0.5 if after != before else False


def subject_of(record: Record) -> tuple[str, ...]:
    """Return the fields of a record that name its subject."""
    return tuple(str(getattr(record, name)) for name in SUBJECT)


def public(version: str) -> str:
    """Return a version without its local part: ``2.13.0`` of ``2.13.0+cpu``."""
    return version.partition("+")[0]


def figure_of(record: Record, measure: str) -> float | None:
    """Return a figure of a record: a count, a metric, a median in seconds; None if it is missing or not finite."""
    if measure.startswith("seconds."):
        found = record.seconds.get(measure.partition(".")[2])
    elif measure in record.samples:
        found = median(record.samples[measure])
    elif measure in record.metrics:
        found = record.metrics[measure]
    else:
        found = getattr(record, measure, None) if figures.unit(measure) == "1" else None
    return float(found) if isinstance(found, (int, float)) and math.isfinite(found) else None


def from_series(series: Sequence[Series], results: Path, model: str, measure: str) -> Question:
    """Return the question of the figure's largest standing change; of its newest change for the worse if none stands.

    Raises
    ------
    ArgumentError: if no change for the worse is known.
    RecordError: for a run that cannot be read.
    """
    stands = sorted(standing(series), key=lambda one: -size(one.verdict()))
    found: list[tuple[Series, Change]] = [(one.series, one.change) for one in stands]
    worse = [(one, change) for one in series for change in one.changes if change.kind == "regression"]
    found += sorted(worse, key=lambda pair: pair[1].night.time, reverse=True)
    if not found:
        raise ArgumentError(
            f"{model} {measure}: no change for the worse in the history; name two runs with --good and --bad"
        )
    one, change = found[0]
    ends = [
        _end(find(point.run_id, results), one.row, value)
        for point, value in ((change.last, change.before), (change.night, change.after))
    ]
    return _checked(Question(model, measure, *ends))


def between(good: Side, bad: Side, model: str, measure: str) -> Question:
    """Return the question of two runs: the row of the model whose figure got worse most.

    Raises
    ------
    ArgumentError: if the model's figure did not get worse in any row of both.
    """
    before, now = ({subject_of(one): one for one in side.records if one.model == model} for side in (good, bad))
    higher = figures.higher_is_better(measure)
    found = []
    for row in before.keys() & now.keys():
        was, is_ = figure_of(before[row], measure), figure_of(now[row], measure)
        if was is None or (is_ is not None and (is_ == was or (is_ > was) == (higher is True))):
            continue
        change = Verdict("regression", model, "", measure, "", base=was, candidate=is_)
        found.append((is_ is not None, -size(change), row, was, is_))
    if not found:
        raise ArgumentError(f"{model} {measure}: is not worse in {bad.name} than in {good.name}")
    *_, row, was, is_ = min(found)
    return _checked(
        Question(model, measure, End(before[row].run_id, was, before[row]), End(now[row].run_id, is_, now[row]))
    )


def _end(side: Side, row: tuple[str, ...], figure: float | None) -> End:
    if not side.records:
        raise RecordError(f"{side.name}: holds no record")
    records = [one for one in side.records if one.row == row] or side.records
    return End(side.name, figure, records[-1])


def _checked(question: Question) -> Question:
    """Refuse runs whose commits do not say which code ran."""
    if not MODEL_KEY.fullmatch(question.model):
        raise RecordError(f"{question.model!r}: not a model's key")
    for end in (question.good, question.bad):
        if not re.fullmatch("[0-9a-f]{7,64}", end.commit):
            raise ArgumentError(f"run {end.run_id}: its records name no commit, so there is none to walk from")
        if end.environment.git_clean is False:
            raise ArgumentError(
                f"run {end.run_id}: was made with uncommitted changes, so commit {end.commit[:10]} is not what ran; "
                "name a run of a clean checkout with --good or --bad"
            )
    return question
