"""A finished run judged once: its verdicts, the history of its figures, the newest errors by regime.

The Markdown page, the HTML report and the JUnit file are drawn from one :class:`Night`, so that they agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.errors import RecordError
from harness.judge.nightly_series import history
from harness.judge.regress import compare
from harness.records import regime_errors
from harness.records.lookup import check_readable, runs

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from harness.records.lookup import Side
    from harness.records.regime_errors import Error
    from harness.records.series import Series
    from harness.records.verdicts import Verdict


@dataclass(frozen=True, slots=True)
class Night:
    """Everything that is shown of a finished run."""

    run: Side
    base: Side | None
    """Records or baselines the run is judged against; None if there is nothing to compare with."""
    verdicts: list[Verdict] | None
    """The comparison, worst first; None without a base."""
    series: list[Series]
    """The history of the figures over all runs."""
    regimes: tuple[str, list[Error]] | None
    """The newest run that measured the error by regime, and its errors."""

    @property
    def title(self) -> str:
        """The comparison in words."""
        return f"{self.run.name} against {self.base.name}" if self.base else self.run.name


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
    models: keys of the models whose history is wanted; None for all.

    Raises
    ------
    RecordError: for a run without records, or a model's baseline that cannot be read.
    """
    if base is not None:
        check_readable(base, run, told)
    return Night(
        run,
        base,
        compare(base, run) if base is not None else None,
        [one for one in _series(results, told) if models is None or one.model in models],
        regime_errors.newest(results, told),
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
