"""A finished run judged once: its verdicts, the history of its figures, the newest errors by regime.

The Markdown page, the HTML report and the JUnit file are made from one :class:`Night`, so that they agree.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import RecordError, UnknownNameError
from harness.judge.nightly_series import history
from harness.judge.regress import compare, rows_of
from harness.judge.severity import headline, in_order
from harness.judge.standing import Standing, standing, with_standing
from harness.records import accepted as accepted_changes
from harness.records import listing, predictions, regime_errors
from harness.records.lookup import BASELINES, check_readable, find, runs
from harness.records.outcomes import is_broken

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from harness.records.lookup import Side
    from harness.records.predictions import Prediction
    from harness.records.regime_errors import Error
    from harness.records.series import Series
    from harness.records.verdicts import Verdict


@dataclass(frozen=True, slots=True)
class Night:
    """Everything that a finished run's reports show."""

    run: Side
    base: Side | None
    """Records or baselines the run is judged against; None if there is nothing to compare with."""
    verdicts: list[Verdict] | None
    """Worst first: the comparison, and the figures at a worse level; None if there was nothing to judge."""
    series: list[Series]
    """The history of the figures over all runs."""
    regimes: tuple[str, list[Error]] | None
    """The newest run that measured the error by regime, and its errors."""
    stands: list[Standing]
    """Figures of this run at a worse level than on the nights before, accepted or not."""
    predictions: list[Prediction] = field(default_factory=list)
    """Predictions of the engine model that are in the same results folder; never measurements."""

    @property
    def title(self) -> str:
        """The comparison in words."""
        return f"{self.run.name} against {self.base.name}" if self.base else self.run.name

    @property
    def run_id(self) -> str:
        """The run's id, or the name of its file."""
        return run_name(self.run)

    @property
    def date(self) -> str:
        """The date of the run's first record, ``2026-01-31``, UTC; empty without records."""
        return min((record.time for record in self.run.records), default="")[:10]

    @property
    def headline(self) -> str:
        """The night in one line, the same in every output."""
        return headline(self.run.records, self.verdicts)

    @property
    def is_worse(self) -> bool:
        """Whether a figure got worse and is not accepted, which is exit code 1.

        With nothing to compare with, a row whose output is broken is enough.
        """
        if self.base is None and any(is_broken(record.status, record.outcome) for record in self.run.records):
            return True
        return any(verdict.kind == "regression" for verdict in self.verdicts or ())


def run_name(side: Side) -> str:
    """Return the id of a run, or the name of its file."""
    return Path(side.name).name.removesuffix(".jsonl") or "run"


def judge_night(
    run: Side,
    base: Side | None,
    results: Path,
    told: Callable[[str], None],
    models: Collection[str] | None = None,
) -> Night:
    """Judge a run.

    Parameters
    ----------
    run: the records, already of the models wanted alone.
    base: records or baselines to judge against, likewise.
    results: the results folder, whose runs are the history.
    told: called with a sentence about each file or line that is left out.
    models: keys of the models whose history is read; None for all.

    Raises
    ------
    RecordError: for a baseline that is needed and cannot be read, or a damaged file of accepted changes.
    """
    if base is not None:
        check_readable(base, run, told)
    entries = accepted_changes.read(results / BASELINES)
    series = [one for one in _series(results, told) if models is None or one.model in models]
    ids = {record.run_id for record in run.records}
    stands = standing([one for one in series if one.points[-1].run_id in ids], entries)
    verdicts = in_order(with_standing(compare(base, run) if base is not None else [], stands, entries))
    return Night(
        run,
        base,
        verdicts if base is not None or verdicts else None,
        series,
        regime_errors.newest(results, told),
        stands,
        predictions.read_all(results, told),
    )


def _series(results: Path, told: Callable[[str], None]) -> list[Series]:
    """Return the history of all runs; if it cannot be read, that is a note, and the rest of the night is shown."""
    if not runs(results):
        return []
    try:
        return history(results, damaged=told)
    except RecordError as error:
        told(f"the history is left out: {error}")
        return []


NEWEST = 90
"""Runs whose levels :func:`beyond` looks at."""


def beyond(run: Side, results: Path, told: Callable[[str], None]) -> list[tuple[tuple[tuple[str, ...], str], str]]:
    """Return row, measure and a sentence of each figure of a run that is beyond the level before a change point.

    Two nights after a slowdown are equal, so a comparison of them calls the figure unchanged. Accepted levels are left
    out. Where the newest runs hold none of the run's models, that is told, and nothing is returned.
    """
    ids = {path.stem for path in runs(results)}
    if not run.records or run.records[0].run_id not in ids or len(ids) < 3:
        return []
    models = sorted({record.model for record in run.records})
    try:
        series = history(results, models, damaged=told, newest=NEWEST)
    except UnknownNameError as error:
        told(f"levels before the base are not looked up: {error}")
        return []
    here = {record.run_id for record in run.records}
    stands = standing(
        [one for one in series if one.points[-1].run_id in here], accepted_changes.read(results / BASELINES)
    )
    return [((one.series.row, one.series.measure), one.verdict().sentence) for one in stands if one.accepted is None]


MOST_RUNS_BACK = 20
"""Earlier runs that are searched for one that shares a row with this run."""


def default_base(run: Side, results: Path, told: Callable[[str], None]) -> Side | None:
    """Return the first side that has a row of a run: the committed baselines, then the runs before, newest first."""
    names = [BASELINES] if listing.baselines(results / BASELINES).files else []
    names += [path.stem for path in reversed(runs(results)) if path.stem < run_name(run)][:MOST_RUNS_BACK]
    own = rows_of(run).keys()
    for one in names:
        try:
            before = find(one, results, told)
        except RecordError as error:
            told(f"not compared with: {error}")
            continue
        if own & rows_of(before).keys():
            return before
    return None
