"""Standing changes: figures that went to a worse level and have not come back.

A comparison with the run before finds a slowdown on its first night only; from then on both sides have it. Here the
levels of a series are followed from the oldest: the best level that lasted some nights is the reference, and a later
level that is worse remains a regression until the figure comes back or the level is accepted
(:mod:`harness.records.accepted`). An accepted level is the reference from then on. Once the figure has been better for
some nights, that is the reference, and the entry no longer counts: whatever makes the figure worse again is another
change than the one that was accepted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from harness.judge.change_points import FLOOR, LEAST_NIGHTS
from harness.judge.figures import OUTCOME, text
from harness.records.outcomes import rank
from harness.records.verdicts import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harness.records.accepted import Accepted
    from harness.records.series import Change, Series

WHOLE_ROW = ("row", "status")
"""Figures whose verdict is about all figures of a row."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One series whose present level is worse than its reference, or would be, had it not been accepted."""

    series: Series
    change: Change
    """The change with which the series left the reference."""
    before: float
    """The reference level."""
    after: float | None
    """The present level; None if the figure is missing."""
    accepted: Accepted | None
    """The entry that accepts the present level; None if it is not accepted."""

    def verdict(self) -> Verdict:
        """Return the verdict of the night: a regression, or ``accepted`` with the reason."""
        series = self.series
        ratio = self.after / self.before if self.before and self.after is not None else None
        share = f" ({ratio - 1:+.1%})" if ratio is not None and series.unit != "1" else ""
        between = f"; {'; '.join(self.change.between)}" if self.change.between else ""
        told = f"; accepted: {self.accepted.reason}" if self.accepted else ""
        return Verdict(
            kind="accepted" if self.accepted else "regression",
            model=series.model,
            title=series.title,
            measure=series.measure,
            sentence=f"{series.title}: {series.measure} {text(series.measure, self.after)} since "
            f"{self.change.since}, {text(series.measure, self.before)} before{share}{between}{told}",
            row=series.row,
            base=self.before,
            candidate=self.after,
            ratio=ratio if series.unit == "s" else None,
        )


def standing(series: Iterable[Series], accepted: Sequence[Accepted] = ()) -> list[Standing]:
    """Return the standing changes at the last point of each series, in the order of the series.

    Parameters
    ----------
    series: with their changes, oldest point first.
    accepted: entries; if several are about one figure, the last counts.
    """
    entries = {(one.row, one.measure, one.machine): one for one in accepted}
    found = []
    for one in series:
        usual = entries.get((one.row, one.measure, ""))  # of a gate's verdict, which knows no machine
        last = _last(one, entries.get((one.row, one.measure, one.machine), usual))
        if last is not None:
            found.append(last)
    return found


def _last(series: Series, entry: Accepted | None) -> Standing | None:
    """Follow the levels of one series."""
    judged = [change for change in series.changes if change.kind != "suspicious"]
    if judged and judged[-1].after is None and judged[-1].before is not None:
        known = entry is not None and entry.after is None and judged[-1].night.run_id <= entry.since
        return Standing(series, judged[-1], judged[-1].before, None, entry if known else None)
    steps = [
        (change, change.before, change.after)
        for change in judged
        if change.before is not None and change.after is not None
    ]
    if not steps:
        return None
    first, best, level = steps[0]
    sign = 1.0 if (level > best) == (first.kind == "regression") else -1.0  # a change for the worse
    left, covered = None, None
    at = {point.run_id: number for number, point in enumerate(series.points)}
    ends = [at.get(change.night.run_id, 0) for change, _, _ in steps[1:]] + [len(series.points)]
    for (change, _, level), end in zip(steps, ends, strict=True):
        if not worse(best, level, sign, series.unit):
            lasted = end - at.get(change.night.run_id, 0) >= LEAST_NIGHTS
            better = worse(level, best, sign, series.unit)
            if better and lasted:  # a single good night is not a reference level
                best = level
                entry = None if entry is not None and change.night.run_id > entry.since else entry
            left, covered = None, None if better else covered
            continue
        left = left or change
        over = entry is None or series.points[end - 1].run_id < entry.since  # before it was accepted
        if entry is not None and not over and covers(entry, level, sign, series.unit):
            covered = Standing(series, left, best, level, entry)
            best, left = level, None
    if left is not None:
        return Standing(series, left, best, level, None)
    return covered


def worse(before: float, after: float, sign: float, unit: str) -> bool:
    """Return whether a level is worse than another by more than the floor; counts have none."""
    return sign * (after - before) > (0.0 if unit == "1" else FLOOR * abs(before))


def covers(entry: Accepted, after: float, sign: float, unit: str) -> bool:
    """Return whether an accepted level is as bad as a level, or worse."""
    level = rank(entry.after) if entry.measure == OUTCOME and isinstance(entry.after, str) else entry.after
    return isinstance(level, (int, float)) and not worse(float(level), after, sign, unit)


def with_standing(
    verdicts: Iterable[Verdict], stands: Sequence[Standing], accepted: Sequence[Accepted] = ()
) -> list[Verdict]:
    """Return the verdicts of a comparison together with those of standing changes, each figure once.

    A figure that the comparison itself calls a regression keeps that verdict, unless the level is accepted. The figures
    of a row that is gone or failed are missing for that reason, which its own verdict says once.
    """
    by_figure = {(one.series.row, one.series.measure): one for one in stands}
    entries = {(one.model, one.row, one.measure): one for one in accepted}
    result, told, lost = [], set(), set()
    for verdict in verdicts:
        figure = (verdict.row, verdict.measure)
        entry = entries.get((verdict.model, *figure))
        if verdict.kind == "regression" and verdict.measure in WHOLE_ROW:
            lost.add(verdict.row or verdict.model)
        again = figure in by_figure and by_figure[figure].accepted is None  # worse anew, if at an accepted level
        if verdict.kind == "regression" and entry is not None and not again and _same_level(entry, verdict):
            sentence = f"{verdict.sentence}; accepted: {entry.reason}"
            result.append(msgspec.structs.replace(verdict, kind="accepted", sentence=sentence))
            told.add(figure)
        else:
            result.append(verdict)
            if verdict.kind == "regression":
                told.add(figure)
    return result + [
        one.verdict()
        for figure, one in by_figure.items()
        if figure not in told and not (one.after is None and lost & {one.series.row, one.series.model})
    ]


def _same_level(entry: Accepted, verdict: Verdict) -> bool:
    """Return whether an entry accepts the figure that a gate or a time's test refuses."""
    if verdict.measure == OUTCOME and isinstance(verdict.candidate, str):
        return isinstance(entry.after, (int, float)) and rank(verdict.candidate) <= entry.after
    if isinstance(entry.after, (int, float)) and isinstance(verdict.candidate, (int, float)):
        base = verdict.base if isinstance(verdict.base, (int, float)) else entry.before
        if not isinstance(base, (int, float)):
            return False
        sign = 1.0 if verdict.candidate > base else -1.0
        return covers(entry, float(verdict.candidate), sign, "")
    return entry.after == verdict.candidate
