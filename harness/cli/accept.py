"""``accept``: accept a worse level of a figure, with a reason."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import options
from harness.cli.output import say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.judge.night import Night
    from harness.records.accepted import Accepted


def accept(
    model: Annotated[str, typer.Argument(help="Key of the model.")],
    metric: Annotated[str, typer.Argument(help="The figure: a metric, a count, or a time, as verdicts name it.")],
    *,
    reason: Annotated[str, typer.Option(help="Why the new level is accepted. It is kept and shown.")],
    run: Annotated[str, typer.Option(help="The run that has the new level.")] = "latest",
    base: Annotated[
        str | None, typer.Option(help="What to judge the run against. Default: baselines, else the run before.")
    ] = None,
    results: options.Results = options.RESULTS,
) -> None:
    """Accept what got worse of a model's figure; commit results/baselines/accepted.jsonl afterwards.

    Example: ane-harness accept llama predict --reason "torch 2.14 traces one more op"
    """
    from harness.cli.selection import Notes, load_side
    from harness.errors import ArgumentError
    from harness.judge.night import default_base, judge_night
    from harness.records import accepted
    from harness.records.lookup import BASELINES

    if not reason.strip():
        raise ArgumentError("--reason: is empty; say why the new level is accepted")
    told = Notes()
    now = load_side(run, results, told)
    before = load_side(base, results, told) if base else default_base(now, results, told)
    night = judge_night(now, before, results, told)
    entries = list(_entries(night, model, metric, reason.strip()))
    if not entries:
        worse = sorted({f"{one.model} {one.measure}" for one in night.verdicts or () if one.kind == "regression"})
        known = f"worse in this run: {', '.join(worse)}" if worse else "nothing got worse in this run"
        raise ArgumentError(f"{model} {metric}: did not get worse, so there is nothing to accept; {known}")
    path = accepted.add(results / BASELINES, entries)
    for entry in entries:
        say(f"accepted: {entry.title}: {metric} {_figure(entry)}")
    say(f"{path}: {len(entries)} added; commit it", err=True)


def _entries(night: Night, model: str, metric: str, reason: str) -> Iterator[Accepted]:
    """Yield an entry for each regression of the model's figure; one that stands over nights names its machine."""
    from harness.records.accepted import Accepted

    machines = {(one.series.row, one.series.measure): one for one in night.stands}
    time = datetime.now(timezone.utc).isoformat(timespec="seconds")
    for verdict in night.verdicts or ():
        if verdict.kind == "regression" and (verdict.model, verdict.measure) == (model, metric):
            stands = machines.get((verdict.row, verdict.measure))
            yield Accepted(
                model=model,
                title=verdict.title,
                row=verdict.row,
                measure=metric,
                before=verdict.base,
                after=verdict.candidate,
                since=stands.change.night.run_id if stands else night.run_id,
                reason=reason,
                time=time,
                machine=stands.series.machine if stands else "",
            )


def _figure(entry: Accepted) -> str:
    from harness.judge.figures import text

    before, after = (
        text(entry.measure, value) if isinstance(value, (int, float)) else str(value or "missing")
        for value in (entry.before, entry.after)
    )
    return f"{after}, {before} before"
