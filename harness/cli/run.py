"""``run``: convert, count, execute, compare, tabulate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import options
from harness.cli.output import say

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from harness.plan.run_plan import Plan
    from harness.records.run_files import RunFolder
    from harness.records.schema import Record
    from harness.workers.pool import Crew

FINE = ("ok", "skipped")
"""Statuses that are no fault."""
HOW = ("resume", "jobs", "memory", "scheduler", "limit", "form", "out")
"""Options that say how a run is done and shown, not what it does: a resumed run takes these alone."""


def run(
    context: typer.Context,
    models: options.Models = None,
    *,
    tier: options.Tier = "quick",
    variant: Annotated[list[str] | None, typer.Option(help="off, on or cpu; may be repeated. Default: all.")] = None,
    lowering: options.Lowerings = None,
    compression: Annotated[
        str | None,
        typer.Option(help="palette4, palette6, int8, int4, separated by commas: rows beside the plain ones."),
    ] = None,
    shape: Annotated[
        str, typer.Option(help="prefill, decode, flexible or both, with a number of tokens: decode:64. Default: 32.")
    ] = "prefill",
    checkpoint: Annotated[
        str | None,
        typer.Option(metavar="PATH|HUB_ID", help="Instead of the zoo: a folder of save_pretrained, or a hub id."),
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of the hub id.")] = None,
    prompts: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A prompt a line, for the checkpoint's tokenizer.")
    ] = None,
    allow_pickle: Annotated[
        bool, typer.Option("--allow-pickle", help="Read weights from pickle files, which can run code.")
    ] = False,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run the code that comes with the checkpoint.")
    ] = False,
    size: Annotated[
        str, typer.Option(help="quick, or full: the published configuration, with random weights.")
    ] = "quick",
    frontend: options.Frontend = "trace",
    precision: Annotated[str | None, typer.Option(help="The executor's policy. Default: fp16.")] = None,
    regimes: Annotated[
        bool,
        typer.Option("--regimes", help="Instead of models: one norm's error by lowering, policy and input regime."),
    ] = False,
    jobs: options.Jobs = 1,
    memory: options.Memory = None,
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Send the models to the fleet behind this dask scheduler.")
    ] = None,
    limit: Annotated[str, typer.Option(help="Time limit of one model, for example 90s, 30m, 2h.")] = "1h",
    cache: Annotated[
        bool, typer.Option("--cache/--no-cache", help="Take packages made before from the cache, and keep new ones.")
    ] = True,
    lean: Annotated[
        bool, typer.Option("--lean/--no-lean", help="Convert without copies of the weights; the package is the same.")
    ] = True,
    resume: Annotated[
        str | None, typer.Option(metavar="RUN", help="Continue a run that was ended, by its id; it keeps its options.")
    ] = None,
    form: options.Format = "github",
    out: options.Out = Path("results"),
) -> None:
    """Convert models in each variant, check their norms, measure their precision; records go to --out.

    Each model runs in a child process: one that crashes, hangs or grows without end is a row with its reason.

    Example: ane-harness run llama qwen3 --variant off --variant on --lowering layer_norm,max_abs
    """
    from harness.cli import quantities, selection
    from harness.cli.checkpoint_options import given_weights
    from harness.errors import check_name
    from harness.plan import shapes
    from harness.report.results_table import FORMATS
    from harness.zoo.catalog import SIZES

    FORMATS.check(form)
    sized = check_name("size", size, SIZES)
    seconds = quantities.seconds(limit, "--limit")
    memory_bytes = quantities.memory_budget(memory)
    if resume is not None:
        plan, folder = _resumed(context, out, resume)
    else:
        variants = selection.variants(variant or [])
        lowerings, policies = selection.names(lowering, precision, frontend, regimes=regimes)
        tokens = shapes.parse(shape)
        compressions = selection.compressions(compression, policies[0])
        weights, texts = given_weights(
            checkpoint,
            revision,
            prompts,
            models=models or (),
            allow_pickle=allow_pickle,
            trust_remote_code=trust_remote_code,
        )
        specs, unusable = selection.specs(weights, models or [], tier, regimes=regimes)
        folder = selection.new_folder(out)
        if regimes:
            _regimes(lowerings, policies, form, folder)
            return
        from harness.plan.run_plan import Options, Plan

        options = Options(
            variants=tuple(variants),
            frontend=frontend,
            policy=policies[0],
            lowerings=tuple(lowerings),
            compressions=compressions,
            shape=tokens.kind,
            sequence_length=tokens.length,
            size=sized if weights is None else "full",
            checkpoint=weights,
            prompts=texts,
            lean=lean,
            cache=cache,
            run_id=folder.run_id,
        )
        others = selection.others([*specs, *unusable])
        plan = Plan(options, tuple(specs), tuple(unusable), others)
        _keep(plan, folder)
    records = _run(plan, folder, _crew(scheduler, jobs, memory_bytes), seconds)
    say(FORMATS[form](records))
    _summary(records, folder, code=2 if plan.unusable else 1)


def _keep(plan: Plan, folder: RunFolder) -> None:
    """Write the plan, from which the run can be resumed."""
    import msgspec

    folder.write_plan(msgspec.json.encode(plan))


def _resumed(context: typer.Context, out: Path, run_id: str) -> tuple[Plan, RunFolder]:
    """Return the plan and the folder of a run to be continued."""
    import msgspec

    from harness.errors import ArgumentError, RecordError
    from harness.plan.run_plan import Plan
    from harness.records.run_files import RunFolder

    for name in context.params:
        source = context.get_parameter_source(name)
        if name not in HOW and source is not None and source.name == "COMMANDLINE":
            raise ArgumentError(f"--resume: the run keeps its own options; leave out {name!r}")
    folder = RunFolder.resume(out, run_id)
    try:
        plan = msgspec.json.decode(folder.read_plan(), type=Plan)
    except msgspec.MsgspecError as error:
        raise RecordError(f"{folder.plan}: not a run's plan: {error}") from None
    if plan.options.checkpoint is not None:
        from harness.zoo.checkpoint import check_unchanged

        check_unchanged(plan.options.checkpoint)
    return plan, folder


def _crew(scheduler: str | None, jobs: int, memory_bytes: int) -> AbstractContextManager[Crew]:
    """Return who does the work: children of this process, or a fleet."""
    if scheduler is None:
        from harness.workers.pool import Pool

        return Pool(jobs, memory_bytes)
    from harness.workers.cluster import Crew as Fleet

    return Fleet(scheduler)


def _run(plan: Plan, folder: RunFolder, who: AbstractContextManager[Crew], seconds: float) -> list[Record]:
    """Do what is still to do, each record appended as soon as it is there; return all, and write the table."""
    from harness.cli.progress import progress
    from harness.plan.run_plan import record as blank
    from harness.plan.run_plan import row_of
    from harness.records.run_files import read_records
    from harness.report.results_table import FORMATS
    from harness.run.jobs import run_jobs

    records = {row_of(record): record for record in read_records(folder.records)}
    order = plan.rows()
    for one in plan.unusable:
        for case in plan.options.cases():
            if (one.key, case) not in records:
                record = blank(one, plan.options, case, status="failed", reason=one.reason)
                folder.append(record)
                records[one.key, case] = record
    try:
        with progress(len(order)) as bar, who as crew:
            for _ in records:
                bar.advance()
            for record in run_jobs(plan.jobs(list(records)), crew, seconds=seconds, announce=bar.say):
                folder.append(record)
                records[row_of(record)] = record
                bar.advance()
    except KeyboardInterrupt:  # said when the bar is off the terminal
        again = f"continue with: ane-harness run --resume {folder.run_id}"
        say(f"ane-harness: interrupted; {len(records)} of {len(order)} rows are kept; {again}", err=True)
        raise typer.Exit(130) from None
    ordered = [records[row] for row in order if row in records]
    folder.write_table(FORMATS["github"](ordered) + "\n")
    return ordered


def _summary(records: Sequence[Record], folder: RunFolder, code: int) -> None:
    """Say on stderr what is not ok, and exit with a code if anything is; with 2 if there was nothing but to skip."""
    ok = sum(record.status == "ok" for record in records)
    say(f"{ok} of {len(records)} rows ok; records: {folder.records}", err=True)
    for record in records:
        if record.status != "ok":
            say(f"{record.title}: {record.status}: {record.reason}", err=True)
    if any(record.status not in FINE for record in records):
        raise typer.Exit(code)
    if records and not ok:
        raise typer.Exit(2)


def _regimes(lowerings: Sequence[str], policies: Sequence[str], form: str, folder: RunFolder) -> None:
    """Print and keep the table of regimes."""
    from harness.cli.progress import progress
    from harness.measure import regimes
    from harness.records.regime_errors import write

    errors = []
    with progress(len(lowerings) * len(policies)) as bar:
        for error in regimes.measure(lowerings, policies):
            bar.say(f"{error.lowering} {error.policy}")
            errors.append(error)
    folder.write_table(regimes.render(errors, "github") + "\n")
    write(folder.table.parents[1], folder.run_id, errors)
    say(regimes.render(errors, form))
