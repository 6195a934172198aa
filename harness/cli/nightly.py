"""``nightly``: a finished run judged, for people, for the page of a build, and for its server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import options
from harness.cli.output import say

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.records.lookup import Side
    from harness.records.verdicts import Verdict


def nightly(
    run: options.Run = "latest",
    *,
    base: Annotated[str, typer.Option(help="What to judge against, as in compare.")] = "baselines",
    tier: options.OnlyTier = None,
    results: options.Results = Path("results"),
) -> None:
    """Judge a run, and write nightly.md, nightly.html and nightly.xml (JUnit) into tables/ of --results.

    Exit code 1 on a regression.

    Example: ane-harness nightly latest --base baselines
    """
    from harness.cli.report import report
    from harness.cli.selection import load_side, notes, only_models
    from harness.errors import RecordError
    from harness.judge.regress import compare
    from harness.records import atomic
    from harness.records.lookup import check_readable
    from harness.report.junit import junit

    told = notes()
    before, now = (only_models(load_side(name, results, told), None, tier) for name in (base, run))
    check_readable(before, now, told)
    if not now.records:
        raise RecordError(f"{run}: no record to judge")
    verdicts = compare(before, now)
    tables = results / "tables"
    atomic.write(tables / "nightly.md", _markdown(before, now, verdicts, results, told).encode())
    atomic.write(tables / "nightly.xml", junit(f"{now.name} against {before.name}", verdicts, now.records))
    report(run, base=base, output=tables / "nightly.html", results=results)
    say(f"{tables / 'nightly.md'}, {tables / 'nightly.html'}, {tables / 'nightly.xml'}", err=True)
    if any(verdict.kind == "regression" for verdict in verdicts):
        raise typer.Exit(1)


def _markdown(before: Side, now: Side, verdicts: Sequence[Verdict], results: Path, told: Callable[[str], None]) -> str:
    """Return the night's page: what changed first, then since when, then the whole table."""
    from harness.judge.nightly_series import history
    from harness.report import history_table as series
    from harness.report import results_table
    from harness.report import verdict_table as judged
    from harness.system.text import cell

    changed = [verdict for verdict in verdicts if verdict.kind != "unchanged"]
    nights = history(results, damaged=told)
    ended = [f"- {cell(sentence)}" for sentence in series.ended(nights)]
    return "\n\n".join(
        [
            f"# {cell(now.name)} against {cell(before.name)}",
            f"{judged.summary(verdicts)}.",
            judged.github(changed) or "Nothing changed.",
            "## Since when",
            "\n".join(ended) or "Every figure that was ever measured is there.",
            series.github(nights) or "No figure changed its level in any night.",
            "## Rows",
            results_table.github(now.records),
            "",
        ]
    )
