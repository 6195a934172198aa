"""Changes that stand: figures that went to a worse level and have not come back, night after night.

A comparison with the run before sees a slowdown on its first night alone; from then on both sides have it. Here the
levels of a series are followed from the oldest: the best level so far is the reference, and a later level that is
worse than it stands as a regression until the figure comes back or the level is accepted
(:mod:`harness.records.accepted`). An accepted level is the reference from then on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from harness.judge.change_points import FLOOR
from harness.records.verdicts import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harness.records.accepted import Accepted
    from harness.records.series import Change, Series


@dataclass(frozen=True, slots=True)
class Standing:
    """One series whose present level is worse than its reference, or would be, had it not been accepted."""

    series: Series
    change: Change
    """The change with which the series left the reference."""
    before: float
    """The reference level."""
    after: float
    """The present level."""
    accepted: Accepted | None
    """The entry that accepts the present level; None if it is not accepted."""

    def verdict(self) -> Verdict:
        """Return the verdict of the night: a regression, or ``accepted`` with the reason."""
        series = self.series
        share = f" ({self.after / self.before - 1:+.1%})" if self.before and series.unit != "1" else ""
        between = f"; {'; '.join(self.change.between)}" if self.change.between else ""
        told = f"; accepted: {self.accepted.reason}" if self.accepted else ""
        return Verdict(
            kind="accepted" if self.accepted else "regression",
            model=series.model,
            title=series.title,
            measure=series.measure,
            sentence=f"{series.title}: {series.measure} {series.figure(self.after)} since "
            f"{night_of(self.change.night.time)}, {series.figure(self.before)} before{share}{between}{told}",
            row=series.row,
            base=self.before,
            candidate=self.after,
            ratio=self.after / self.before if series.unit == "s" and self.before else None,
        )


def night_of(time: str) -> str:
    """Return the date of an ISO 8601 time: people tell nights by their dates."""
    return time[:10]


def standing(series: Iterable[Series], accepted: Sequence[Accepted] = ()) -> list[Standing]:
    """Return what stands at the last point of each series, in the order of the series.

    Parameters
    ----------
    series: with their changes, oldest point first.
    accepted: entries; where several are about one figure, the last counts.
    """
    entries = {(one.row, one.measure, one.machine): one for one in accepted}
    found = []
    for one in series:
        last = _last(one, entries.get((one.row, one.measure, one.machine)))
        if last is not None:
            found.append(last)
    return found


def _last(series: Series, entry: Accepted | None) -> Standing | None:
    """Follow the levels of one series."""
    judged = [change for change in series.changes if change.kind != "suspicious"]
    if not judged:
        return None
    upward = judged[0].after > judged[0].before
    sign = 1.0 if upward == (judged[0].kind == "regression") else -1.0  # of the direction that is worse
    best, left, covered = judged[0].before, None, None
    for change in judged:
        if not worse(best, change.after, sign, series.unit):
            best, left, covered = min(best, change.after, key=lambda level: sign * level), None, None
            continue
        left = left or change
        if entry is not None and covers(entry, change.after, sign, series.unit):
            covered = Standing(series, left, best, change.after, entry)
            best, left = change.after, None
    if left is not None:
        return Standing(series, left, best, judged[-1].after, None)
    return covered


def worse(before: float, after: float, sign: float, unit: str) -> bool:
    """Return whether a level is worse than another by more than the floor; counts have none."""
    return sign * (after - before) > (0.0 if unit == "1" else FLOOR * abs(before))


def covers(entry: Accepted, after: float, sign: float, unit: str) -> bool:
    """Return whether an accepted level is as bad as a level, or worse."""
    return isinstance(entry.after, (int, float)) and not worse(float(entry.after), after, sign, unit)


def with_standing(
    verdicts: Iterable[Verdict], stands: Sequence[Standing], accepted: Sequence[Accepted] = ()
) -> list[Verdict]:
    """Return a comparison's verdicts with those of what stands, each figure once.

    A figure that the comparison itself calls a regression keeps that verdict, unless the level is accepted.
    """
    by_figure = {(one.series.row, one.series.measure): one for one in stands}
    entries = {(one.row, one.measure): one for one in accepted}
    result, told = [], set()
    for verdict in verdicts:
        figure = (verdict.row, verdict.measure)
        entry = entries.get(figure)
        if verdict.kind == "regression" and entry is not None and _same_level(entry, verdict):
            sentence = f"{verdict.sentence}; accepted: {entry.reason}"
            result.append(msgspec.structs.replace(verdict, kind="accepted", sentence=sentence))
            told.add(figure)
        else:
            result.append(verdict)
            if verdict.kind == "regression":
                told.add(figure)
    return result + [one.verdict() for figure, one in by_figure.items() if figure not in told]


def _same_level(entry: Accepted, verdict: Verdict) -> bool:
    """Return whether an entry accepts the figure that a gate or a time's test refuses."""
    if isinstance(entry.after, (int, float)) and isinstance(verdict.candidate, (int, float)):
        base = verdict.base if isinstance(verdict.base, (int, float)) else entry.before
        if not isinstance(base, (int, float)):
            return False
        sign = 1.0 if verdict.candidate > base else -1.0
        return covers(entry, float(verdict.candidate), sign, "")
    return entry.after == verdict.candidate
