"""``report``: one HTML file about a run, for people to look at."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import options
from harness.cli.output import say

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.judge.night import Night
    from harness.records.lookup import Side

NONE = "none"
MOST_RUNS_BACK = 20
"""Earlier runs that are searched for one that shares a row with this run."""


def report(
    run: options.Run = "latest",
    *,
    base: Annotated[
        str | None,
        typer.Option(
            help="What to compare with, as in compare; none for nothing. Default: baselines, else the run before."
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The file to write. Default: tables/RUN.html in --results.")
    ] = None,
    results: options.Results = Path("results"),
) -> None:
    """Write one HTML file about a run that needs no network: what got worse, the zoo as a table, and each model.

    Example: ane-harness report latest --base latest~1 -o report.html
    """
    from harness.cli.selection import Notes
    from harness.errors import RecordError
    from harness.judge.night import judge_night
    from harness.records.lookup import find

    notes = Notes()
    side = find(run, results, notes)
    if side.baselines:
        raise RecordError(f"{run}: baselines are no run, and have nothing to report; name them with --base")
    night = judge_night(side, _base(base, side, results, notes), results, notes)
    write_page(night, notes.texts, output or results / "tables" / f"{_run_name(side)}.html")


def write_page(night: Night, notes: Sequence[str], path: Path) -> None:
    """Write a night as one HTML file, and print its headline."""
    from harness.records import atomic
    from harness.report.page.drawn import html, page_of

    page = page_of(night, notes)
    atomic.write(path, html(page))
    say(f"{page.headline}: {path}")


def _run_name(side: Side) -> str:
    return Path(side.name).name.removesuffix(".jsonl") or "run"


def _base(name: str | None, side: Side, results: Path, told: Callable[[str], None]) -> Side | None:
    """Return the records or baselines to compare with; None for nothing.

    If none are named, the first are taken that have a row of this run: the committed baselines, then the runs before,
    newest first.
    """
    from harness.errors import RecordError
    from harness.judge.regress import rows_of
    from harness.records import listing
    from harness.records.lookup import BASELINES, find, runs

    if name == NONE:
        return None
    if name is not None:
        return find(name, results, told)
    names = [BASELINES] if listing.baselines(results / BASELINES).files else []
    names += [path.stem for path in reversed(runs(results)) if path.stem < _run_name(side)][:MOST_RUNS_BACK]
    own = rows_of(side).keys()
    for one in names:
        try:
            before = find(one, results, told)
        except RecordError as error:
            told(f"not compared with: {error}")
            continue
        if own & rows_of(before).keys():
            return before
    return None
