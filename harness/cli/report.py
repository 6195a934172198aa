"""``report``: write one HTML file about a run, for people."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import options
from harness.cli.output import say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.judge.night import Night

NONE = "none"


def report(
    run: options.Run = "latest",
    second: Annotated[
        str | None, typer.Argument(help="A second run, to be shown beside the first.", metavar="[SECOND]")
    ] = None,
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
    results: options.Results = options.RESULTS,
) -> None:
    """Write one HTML file about a run that needs no network: what got worse, the zoo as a table, and each model.

    With two runs, the second is judged against the first, and the rows of both are side by side.

    Example: ane-harness report latest~1 latest -o report.html
    """
    from harness.cli.selection import Notes
    from harness.errors import ArgumentError, RecordError
    from harness.judge.night import default_base, judge_night, run_name
    from harness.records.lookup import find

    if second is not None:
        if base is not None:
            raise ArgumentError(f"--base {base}: not with two runs; the first is what the second is judged against")
        run, base = second, run
    notes = Notes()
    side = find(run, results, notes)
    if side.baselines:
        raise RecordError(f"{run}: baselines are no run, and have nothing to report; name them with --base")
    if base is None:
        before = default_base(side, results, notes)
    else:
        before = None if base == NONE else find(base, results, notes)
    night = judge_night(side, before, results, notes)
    beside = second is not None
    if beside and not (before and before.records):
        raise RecordError(f"{base}: is no run with rows; two runs are shown side by side")
    name = f"{run_name(before)}-{night.run_id}" if beside and before else night.run_id
    write_page(night, notes.texts, output or results / "tables" / f"{name}.html", beside=beside)


def write_page(night: Night, notes: Sequence[str], path: Path, *, beside: bool = False) -> None:
    """Write a night as one HTML file, and print its headline."""
    from harness.records import atomic
    from harness.report.page.drawn import html, page_of

    page = page_of(night, notes, beside=beside)
    atomic.write(path, html(page))
    say(f"{page.headline}: {path}")
