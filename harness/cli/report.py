"""``report``: one HTML file about a run, for people to look at."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.output import say

if TYPE_CHECKING:
    from harness.store.find import Side

NONE = "none"


def report(
    run: Annotated[
        str, typer.Argument(help="A run's id or its beginning, latest~1, or a file.", metavar="RUN")
    ] = "latest",
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
    results: Annotated[Path, typer.Option(help="Folder of runs and baselines.")] = Path("results"),
) -> None:
    """Write one HTML file about a run that needs no network: what got worse, the zoo as a table, and each model.

    Example: ane-harness report latest --base latest~1 -o report.html
    """
    from harness.errors import RecordError
    from harness.regress import compare
    from harness.report.html import render
    from harness.report.page import Page
    from harness.store import atomic
    from harness.store.find import find

    notes: list[str] = []
    side = find(run, results, notes.append)
    if side.baselines:
        raise RecordError(f"{run}: baselines are no run, and have nothing to report; name them with --base")
    before = _base(base, side, results, notes)
    name = _run_name(side)
    page = Page(
        side.records,
        name,
        base=before.name if before else "",
        verdicts=compare(before, side) if before else None,
        notes=notes,
    )
    path = output or results / "tables" / f"{name}.html"
    atomic.write(path, render(page, side.records).encode())
    say(f"{page.headline}: {path}")


def _run_name(side: Side) -> str:
    return Path(side.name).name.removesuffix(".jsonl") or "run"


def _base(name: str | None, side: Side, results: Path, notes: list[str]) -> Side | None:
    """Return what to compare with: as named, or the committed baselines, or the run before; None for nothing."""
    from harness.store.find import BASELINES, find, runs

    if name == NONE:
        return None
    if name is None and any((results / BASELINES).glob("*.json")):
        name = BASELINES
    if name is None:
        earlier = [path for path in runs(results) if path.stem < _run_name(side)]
        if not earlier:
            return None
        name = earlier[-1].stem
    return find(name, results, notes.append)
