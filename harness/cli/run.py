"""``run``: convert, count, execute, compare, tabulate."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import typer

from harness.cli import options
from harness.cli.option_set import expanded
from harness.cli.output import say
from harness.cli.regimes import measure_regimes
from harness.cli.run_options import RunOptions
from harness.system.text import plural

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from harness.plan.run_plan import Plan
    from harness.records.run_files import RunFolder
    from harness.records.schema import Record
    from harness.workers.pool import Workers

FINE = ("ok", "skipped")
"""Statuses that fail no run."""
TEXT_SHAPE = "prefill:128"
"""The shape of a run with a text where none is named: perplexity over 32 tokens measures the lack of context."""
HOW = ("resume", "jobs", "memory", "scheduler", "limit", "form", "wide", "columns", "results")
"""Options that change how a run is done and shown, not its measurements: a resumed run takes only these."""


@expanded
def run(given: RunOptions) -> None:
    """Convert models in each variant, check their norms, measure their precision; records go to --results.

    Each model runs in a child process: one that crashes, hangs or grows without end is a row with its reason.

    Example: ane-harness run llama qwen3 --variant off --variant on --lowering layer_norm,max_abs
    """
    from harness.cli import quantities
    from harness.report.columns import COLUMNS
    from harness.report.reading_table import lines
    from harness.report.results_table import document
    from harness.run.jobs import side_by_side

    given.check(() if given.regimes else COLUMNS)
    if given.regimes and given.resume is None:
        measure_regimes(given.lowering, given.precision, given.results, given)
        return
    seconds = quantities.seconds(given.limit, "--limit")
    memory_bytes = quantities.memory_budget(given.memory)
    plan, folder = _planned(given) if given.resume is None else _resumed(given.context, given.results, given.resume)
    jobs = given.jobs or side_by_side(len(plan.specs), plan.options.size, memory_bytes)
    with _workers(given.scheduler, jobs, memory_bytes, plan) as workers:
        records = _run(plan, folder, workers, seconds)
    given.show(document(records))
    for line in lines(records):
        say(line, err=not given.for_people)
    _summary(records, folder, code=2 if plan.unusable else 1, reasons=not given.on_terminal)


def _planned(given: RunOptions) -> tuple[Plan, RunFolder]:
    """Return the plan of a new run and its folder; the folder keeps the plan so that the run can be resumed."""
    import msgspec

    from harness.cli import selection
    from harness.cli.checkpoint_options import given_weights
    from harness.cli.trained_tier import with_weights
    from harness.errors import ArgumentError, check_name
    from harness.plan import shapes
    from harness.plan.run_plan import Options, Plan
    from harness.zoo.catalog import SIZES, TRAINED

    size = check_name("size", given.size, SIZES)
    variants = selection.variants(given.variant or [])
    frontend = selection.frontend(given.frontend)
    lowerings, policy = selection.lowerings(given.lowering), selection.policy(given.precision)
    source = given.context.get_parameter_source("shape")
    by_default = source is None or source.name == "DEFAULT"
    tokens = shapes.parse(TEXT_SHAPE if given.text and by_default else given.shape)
    compressions = selection.compressions(given.compression, policy)
    weights, texts = given_weights(
        given.checkpoint,
        given.revision,
        given.prompts,
        models=given.models or (),
        allow_pickle=given.allow_pickle,
        trust_remote_code=given.trust_remote_code,
    )
    specs, unusable = selection.specs(weights, given.models or [], given.tier)
    if given.text and weights is None and given.tier != TRAINED:
        raise ArgumentError("--text: only with --checkpoint or --tier trained: seeded weights read nothing")
    specs, own = with_weights(specs) if weights is None and given.tier == TRAINED else (specs, {})
    rescale = selection.rescale(given.rescale, given.aim)
    folder = selection.new_folder(given.results)
    options = Options(
        variants=tuple(variants),
        frontend=frontend,
        rescale=rescale,
        aim=given.aim,
        policy=policy,
        lowerings=tuple(lowerings),
        compressions=compressions,
        shape=tokens.kind,
        sequence_length=tokens.length,
        size=size if weights is None and not own else "full",
        checkpoint=weights,
        prompts=texts,
        text=given.text,
        lean=given.lean,
        cache=given.cache,
        run_id=folder.run_id,
    )
    plan = Plan(options, tuple(specs), tuple(unusable), selection.others([*specs, *unusable]), own)
    folder.write_plan(msgspec.json.encode(plan))
    return plan, folder


def _resumed(context: typer.Context, results: Path, run_id: str) -> tuple[Plan, RunFolder]:
    """Return the plan and the folder of a run to resume."""
    import msgspec

    from harness.errors import ArgumentError, RecordError
    from harness.plan.run_plan import Plan
    from harness.records.run_files import RunFolder

    for name in context.params:
        source = context.get_parameter_source(name)
        if name not in HOW and source is not None and source.name == "COMMANDLINE":
            raise ArgumentError(f"--resume: the run keeps its own options; leave out {name!r}")
    folder = RunFolder.resume(results, run_id)
    try:
        plan = msgspec.json.decode(folder.read_plan(), type=Plan)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise RecordError(f"{folder.plan}: not a run's plan: {error}") from None
    from harness.zoo.checkpoint import check_unchanged

    for checkpoint in filter(None, (plan.options.checkpoint, *plan.checkpoints.values())):
        check_unchanged(checkpoint)
    return plan, folder


def _workers(scheduler: str | None, jobs: int, memory_bytes: int, plan: Plan) -> AbstractContextManager[Workers]:
    """Return the workers: children of this process, or a fleet."""
    if scheduler is None:
        from harness.run.jobs import modules
        from harness.workers.pool import Pool

        return Pool(jobs, memory_bytes, modules=modules(plan.jobs([])) if jobs > 1 else ())
    from harness.workers.cluster import Cluster

    return Cluster(scheduler)


def _run(plan: Plan, folder: RunFolder, workers: Workers, seconds: float) -> list[Record]:
    """Run the remaining cases and append each record as soon as it is made; write the table and return all records."""
    from harness.cli.progress import progress
    from harness.measure.metrics import not_computed
    from harness.plan.run_plan import record as blank
    from harness.plan.run_plan import row_of
    from harness.records.run_files import read_records
    from harness.report.results_table import github
    from harness.run.jobs import run_jobs

    records = {row_of(record): record for record in read_records(folder.records)}
    order = plan.rows()
    for one in plan.unusable:
        for case in plan.options.cases():
            if (one.key, case) not in records:
                record = blank(one, plan.options, case, status="failed", reason=one.reason, metrics=not_computed())
                folder.append(record)
                records[one.key, case] = record
    try:
        with progress(len(order)) as bar:
            for _ in records:
                bar.advance()
            for record in run_jobs(plan.jobs(list(records)), workers, seconds=seconds, announce=bar.say):
                folder.append(record)
                records[row_of(record)] = record
                bar.advance()
    except KeyboardInterrupt:  # printed once the bar is off the terminal
        where = folder.records.parent.parent
        beside = "" if where == options.RESULTS else f" --results {shlex.quote(str(where))}"
        again = f"continue with: ane-harness run --resume {folder.run_id}{beside}"
        say(f"ane-harness: interrupted; {len(records)} of {plural(len(order), 'row')} kept; {again}", err=True)
        raise typer.Exit(130) from None
    ordered = [records[row] for row in order if row in records]
    folder.write_table(github(ordered) + "\n")
    return ordered


def _summary(records: Sequence[Record], folder: RunFolder, code: int, *, reasons: bool) -> None:
    """Print on stderr how many rows are ok; exit with ``code`` if one failed, or with 2 if all were skipped.

    Parameters
    ----------
    records, folder: the run's.
    code: the exit code if a row failed.
    reasons: whether to name the rows that are not ok; on a terminal the table above has named them.
    """
    ok = sum(record.status == "ok" for record in records)
    say(f"{ok} of {plural(len(records), 'row')} ok; records: {folder.records}", err=True)
    for record in records:
        if reasons and record.status != "ok":
            say(f"{record.title}: {record.status}: {record.reason}", err=True)
    if any(record.status not in FINE for record in records):
        raise typer.Exit(code)
    if records and not ok:
        raise typer.Exit(2)
