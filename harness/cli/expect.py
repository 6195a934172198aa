"""``expect``: show what a run would change in the committed expectations, and write it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import options
from harness.cli.output import say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.judge.expectations import Proposal


def expect(
    run: options.Run = "latest",
    *,
    update: Annotated[bool, typer.Option("--update", help="Write it.")] = False,
    prune: Annotated[bool, typer.Option("--prune", help="Give up rows and models that the run does not have.")] = False,
    times: Annotated[
        bool, typer.Option("--times", help="Expect the run's times, too, of runs on the same machine.")
    ] = False,
    model: options.OnlyModels = None,
    tier: options.OnlyTier = None,
    results: options.Results = options.RESULTS,
) -> None:
    """Show, model by model, what a run would change in results/baselines, and with --update write it.

    Exit code 1 if a regression is among what would change, and it is not written.

    Example: ane-harness expect latest --model llama --update
    """
    from harness.cli.selection import Notes, keys_of, load_side
    from harness.errors import RecordError
    from harness.judge.expectations import propose
    from harness.records import baselines
    from harness.records.lookup import baselines_of, check_readable

    told, models = Notes(), keys_of(model, tier)
    side = load_side(run, results, told).only(models)
    if side.baselines:
        raise RecordError(f"{run}: these are baselines already; name a run")
    if not side.records:
        raise RecordError(f"{run}: no record of these models")
    folder = results / "baselines"
    previous = baselines_of(folder, told).only(models)
    check_readable(previous, side, told)
    proposals = propose(side, previous.baselines, prune=prune, times=times)
    for proposal in proposals:
        for line in _lines(proposal):
            say(line)
    changing = [proposal for proposal in proposals if proposal.changes]
    if update:
        for proposal in changing:
            baselines.write(folder, proposal.baseline) if proposal.baseline else baselines.remove(
                folder, proposal.model
            )
    done = "written" if update else "would be written; --update writes them"
    say(f"{len(changing)} of {len(proposals)} models' baselines {done}", err=True)
    if not update and any(one.kind == "regression" for proposal in proposals for one in proposal.changed):
        raise typer.Exit(1)


def _lines(proposal: Proposal) -> Iterator[str]:
    """Yield the lines on one model."""
    if not (proposal.changes or proposal.changed or proposal.kept):
        yield f"{proposal.model}: as expected"
        return
    yield f"{proposal.model}:"
    yield from (f"  {verdict.kind}: {verdict.sentence}" for verdict in proposal.changed)
    yield from (f"  added: {title}" for title in proposal.added)
    if proposal.remove:
        yield "  removed: the run has no row of it"
    yield from (f"  stays, the run has no word on it: {title}" for title in proposal.kept)
