"""``nightly``: judge a finished run, for people, for a build's page, and for a build server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli import options
from harness.cli.output import say


def nightly(
    run: options.Run = "latest",
    *,
    base: Annotated[str, typer.Option(help="What to judge against, as in compare.")] = "baselines",
    tier: options.OnlyTier = None,
    issue_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Where a figure got worse: write an issue's title, body and labels, as JSON into FILE.json, else as "
            "Markdown with front matter. Where none did, FILE is removed.",
        ),
    ] = None,
    results: options.Results = options.RESULTS,
) -> None:
    """Judge a run, and write nightly.md, nightly.html and nightly.xml (JUnit) into tables/ of --results.

    Exit code 1 on a regression.

    Example: ane-harness nightly latest --base baselines
    """
    from harness.cli.report import write_page
    from harness.cli.selection import Notes, keys_of, load_side
    from harness.errors import RecordError
    from harness.judge.night import judge_night
    from harness.records import atomic, listing
    from harness.records.lookup import BASELINES
    from harness.report.junit import junit
    from harness.report.night_issue import issue
    from harness.report.night_page import markdown

    notes, models = Notes(), keys_of(None, tier)
    now = load_side(run, results, notes).only(models)
    if not now.records:
        raise RecordError(f"{run}: no record to judge")
    first = base == BASELINES and not listing.baselines(results / BASELINES).files
    before = None if first else load_side(base, results, notes).only(models)
    night = judge_night(now, before, results, notes, models)
    page, report, tests = (results / "tables" / f"nightly.{kind}" for kind in ("md", "html", "xml"))
    atomic.write(page, markdown(night).encode())
    atomic.write(tests, junit(night))
    write_page(night, notes.texts, report)
    if issue_file is not None:
        text = issue(night)
        if text is None:
            atomic.remove(issue_file)
        else:
            atomic.write(issue_file, text.encode(as_json=issue_file.suffix == ".json"))
    say(f"{page}, {report}, {tests}", err=True)
    if night.is_worse:
        raise typer.Exit(1)
