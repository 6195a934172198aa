"""``compare``: judge a run against another run or against the expected state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import options
from harness.cli.option_set import expanded
from harness.cli.output import say
from harness.cli.table_options import TableOptions
from harness.system import collector
from harness.system.text import plural

if TYPE_CHECKING:
    from harness.records.lookup import Side


@expanded
def compare(
    base: Annotated[
        str,
        typer.Argument(help="A run's id or its beginning, latest~1, a file, a folder, baselines, or a git revision."),
    ],
    candidate: Annotated[str, typer.Argument(help="The same; judged against the first.")] = "latest",
    *,
    model: options.OnlyModels = None,
    tier: options.OnlyTier = None,
    across_machines: Annotated[
        bool, typer.Option("--across-machines", help="Compare times of different machines too, labelled so.")
    ] = False,
    noise_floor: Annotated[
        float | None, typer.Option(help="Share that no time may be judged by. Default: 0.01 in pairs, 0.03 else.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="List what is unchanged, too.")] = False,
    results: options.Results = options.RESULTS,
    shown: TableOptions,
) -> None:
    """Judge a candidate against a base, figure by figure, worst first.

    Exit code 1 on a regression.

    Example: ane-harness compare baselines latest --tier quick
    """
    from harness.cli.selection import Notes, keys_of, load_side
    from harness.judge.night import beyond
    from harness.judge.regress import compare as judge
    from harness.judge.regress import unasked
    from harness.judge.times import Rules
    from harness.records.lookup import check_readable
    from harness.report.verdict_table import COLUMNS, document, summary

    shown.check(COLUMNS)
    listed_too = everything or shown.form == "json"  # what is unchanged
    told, models = Notes(), keys_of(model, tier)
    with collector.paused():
        before, now = (load_side(name, results, told).only(models) for name in (base, candidate))
        check_readable(before, now, told)
        check_readable(now, before, told)
        verdicts = judge(before, now, Rules(across_machines, noise_floor, listed_too))
        left = unasked(before, now)
        worse = {(one.row, one.measure) for one in verdicts if one.kind == "regression"}
        stands = [text for figure, text in beyond(now, results, told) if figure not in worse] if before.records else []
        sides = f"{_titled(before)} against {_titled(now)}"
        del before, now  # freed here by reference counts, without the collector
    told_of = [one for one in verdicts if listed_too or one.kind != "unchanged"]
    shown.show(document(told_of))
    for text in stands:
        say(f"beyond an earlier level: {text}", err=not shown.for_people)
    more = f"; {plural(left, 'row')} of the base {'was' if left == 1 else 'were'} not asked for" if left else ""
    say(f"{sides}: {summary(verdicts)}{more}", err=True)
    if any(verdict.kind == "regression" for verdict in verdicts):
        raise typer.Exit(1)


def _titled(side: Side) -> str:
    rows = len(side.records) + sum(len(one.rows) for one in side.baselines.values())
    return f"{side.name} ({plural(rows, 'row')})"
