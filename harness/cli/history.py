"""``history``: show since which night a figure is at another level, and what else changed then."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.cli import options
from harness.cli.option_set import expanded
from harness.cli.output import say
from harness.cli.table_options import TableOptions
from harness.system import collector
from harness.system.text import plural


@expanded
def history(
    *,
    model: options.OnlyModels = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            help="A count, outcome, a metric, a sampled time or share, or seconds.STEP. "
            "Default: predict, outcome, rel_l2, fused, ops_after."
        ),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="List series without a change, too.")] = False,
    results: options.Results = options.RESULTS,
    shown: TableOptions,
) -> None:
    """Show the changes of figures over all runs: the night, and the commits and versions between.

    Example: ane-harness history --model llama --metric predict
    """
    from harness.cli.selection import Notes
    from harness.judge.nightly_series import history as read
    from harness.report.history_table import COLUMNS, document

    shown.check(COLUMNS)
    with collector.paused():
        series = read(results, model or (), metric or (), Notes())
    elsewhere = None if results == options.RESULTS else results
    shown.show(document(series, everything=everything, results=elsewhere))
    changes = sum(len(one.changes) for one in series)
    nights = max((len(one.points) for one in series), default=0)
    say(f"{plural(len(series), 'series')} of up to {plural(nights, 'night')}, {plural(changes, 'change')}", err=True)
