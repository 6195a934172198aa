"""``report``: one HTML file about a run, for people to look at."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import options
from harness.cli.output import say

if TYPE_CHECKING:
    from harness.records.lookup import Side
    from harness.records.series import Series
    from harness.report.page.content import Page

NONE = "none"
MOST_RUNS_BACK = 20
"""Runs that are looked into for one that has a row of this one."""


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
    from harness.errors import RecordError
    from harness.records import atomic
    from harness.records.lookup import find
    from harness.report.page.html import render

    notes: list[str] = []
    side = find(run, results, notes.append)
    if side.baselines:
        raise RecordError(f"{run}: baselines are no run, and have nothing to report; name them with --base")
    page = _page(side, base, results, notes)
    path = output or results / "tables" / f"{page.run}.html"
    atomic.write(path, render(page, side.records).encode())
    for note in dict.fromkeys(notes):
        say(f"ane-harness: {note}", err=True)
    say(f"{page.headline}: {path}")


def _page(side: Side, base: str | None, results: Path, notes: list[str]) -> Page:
    """Return what the report says: the run against its base, its history, and the newest errors by regime."""
    import msgspec

    from harness.judge.regress import compare
    from harness.records import regime_errors
    from harness.records.lookup import check_readable
    from harness.report.page.content import Page
    from harness.report.page.recent_nights import changes_of_late, nights, own_series

    before = _base(base, side, results, notes)
    if before:
        check_readable(before, side, notes.append)
    own = own_series(_series(results, notes), side.records)
    measured = regime_errors.newest(results, notes.append)
    return Page(
        side.records,
        _run_name(side),
        base=before.name if before else "",
        verdicts=compare(before, side) if before else None,
        history=nights(own, side.records),
        changes=changes_of_late(own, side.records),
        regimes={"run": measured[0], "errors": msgspec.to_builtins(measured[1])} if measured else None,
        notes=notes,
    )


def _run_name(side: Side) -> str:
    return Path(side.name).name.removesuffix(".jsonl") or "run"


def _series(results: Path, notes: list[str]) -> list[Series]:
    """Return the history of all runs; a run that cannot be read costs the history, with a note, not the report."""
    from harness.errors import RecordError
    from harness.judge.nightly_series import history
    from harness.records.lookup import runs

    if not runs(results):
        return []
    try:
        return history(results, damaged=notes.append)
    except RecordError as error:
        notes.append(f"the history is left out: {error}")
        return []


def _base(name: str | None, side: Side, results: Path, notes: list[str]) -> Side | None:
    """Return what to compare with; None for nothing.

    As named, or else the first that has a row of this run: the committed baselines, then the runs before, newest first.
    """
    from harness.errors import RecordError
    from harness.judge.regress import rows_of
    from harness.records import listing
    from harness.records.lookup import BASELINES, find, runs

    if name == NONE:
        return None
    if name is not None:
        return find(name, results, notes.append)
    names = [BASELINES] if listing.baselines(results / BASELINES).files else []
    names += [path.stem for path in reversed(runs(results)) if path.stem < _run_name(side)][:MOST_RUNS_BACK]
    own = rows_of(side).keys()
    for one in names:
        try:
            before = find(one, results, notes.append)
        except RecordError as error:
            notes.append(f"not compared with: {error}")
            continue
        if own & rows_of(before).keys():
            return before
    return None
