"""``bench``: latency of models, or of the norm by itself, measured alternately in child processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec
import typer

from harness.cli import bench_request
from harness.cli.bench_options import BenchOptions
from harness.cli.option_set import expanded
from harness.cli.output import say
from harness.system.text import plural

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from harness.bench.outcome import Settings
    from harness.bench.session import Bench
    from harness.plan.run_plan import Options, Unusable
    from harness.records.predictions import Prediction
    from harness.records.run_files import RunFolder
    from harness.records.schema import Record
    from harness.zoo.catalog import ModelSpec
    from harness.zoo.checkpoint import Checkpoint

Subject = TypeVar("Subject")


@expanded
def bench(given: BenchOptions) -> None:
    """Time each model's variants, or packages against each other, alternately, in a child process.

    Records go to --results. On a Mac, Core ML runs them; elsewhere the reference executor does, whose times are no
    device's: every row says so. Rates are tokens a second, a prompt's (pp32) and generation's (tg), with the engine
    model's prediction beside them.

    Example: ane-harness bench llama --shape prefill,decode --compression int8
    """
    from harness.report import latency_table, norm_table

    given.check(norm_table.every_column() if given.norm else latency_table.every_column())
    packages = bench_request.packages(given)
    options, settings = bench_request.options_of(given), bench_request.settings_of(given)
    if given.norm:
        _norm(*_begun(options, settings, given, []), given)
    elif packages:
        from harness.bench import packages as package_bench

        package_bench.functions(packages)  # what cannot be read is said before a run begins
        options, settings, folder = _begun(options, settings, given, [])
        records, predicted = _measure([packages], package_bench.measure, [options], settings, folder)
        _show(records, predicted, given, folder)
        _fail_if_any(records)
    else:
        _models(options, settings, given)


def _begun(
    options: Options, settings: Settings, given: BenchOptions, asked: Sequence[ModelSpec | Unusable]
) -> tuple[Options, Settings, RunFolder]:
    """Begin a run: the options with its id, the settings and its folder."""
    from harness.cli import selection

    if given.strict:
        bench_request.refuse_spoilt()
    folder = selection.new_folder(given.results)
    folder.write_asked(selection.others(asked))
    return msgspec.structs.replace(options, run_id=folder.run_id), settings, folder


def _models(options: Options, settings: Settings, given: BenchOptions) -> None:
    """Measure models of the zoo or a checkpoint, in each shape; print the table and keep it."""
    from harness.bench.session import Bench
    from harness.cli import selection
    from harness.cli.checkpoint_options import given_weights
    from harness.cli.trained_tier import with_weights
    from harness.zoo.catalog import TRAINED

    weights, _ = given_weights(
        given.checkpoint, None, None, models=given.models or (), allow_pickle=False, trust_remote_code=False
    )
    if weights is not None:
        options = msgspec.structs.replace(options, checkpoint=weights, size="full")
    shapes = bench_request.shapes(given.shape)
    specs, unusable = selection.specs(weights, given.models or [], given.tier)
    specs, own = with_weights(specs) if weights is None and given.tier == TRAINED else (specs, {})
    options, settings, folder = _begun(options, settings, given, [*specs, *unusable])
    each = [msgspec.structs.replace(options, shape=one.kind, sequence_length=one.length) for one in shapes]
    records, predicted = _measure(specs, Bench.model, each, settings, folder, own)
    _show(records, predicted, given, folder)
    for one in unusable:
        say(one.reason, err=True)
    if unusable:
        raise typer.Exit(2)
    _fail_if_any(records)


def _measure(
    subjects: Sequence[Subject],
    how: Callable[[Bench, Subject], Iterable[Record]],
    options: Sequence[Options],
    settings: Settings,
    folder: RunFolder,
    checkpoints: Mapping[str, Checkpoint] | None = None,
) -> tuple[list[Record], list[Prediction]]:
    """Measure each subject with each of the options, append each record at once; return them with the predictions."""
    from harness.bench.session import Bench
    from harness.cli.progress import progress

    records: list[Record] = []
    predicted: list[Prediction] = []
    try:
        with progress(len(subjects) * len(options)) as bar:
            for one in options:
                with Bench(one, settings, bar.say, checkpoints) as bench:
                    for subject in subjects:
                        for record in how(bench, subject):
                            folder.append(record)
                            records.append(record)
                        bar.advance()
                    predicted += bench.predictions
    except KeyboardInterrupt:  # printed once the bar is off the terminal
        say(f"ane-harness: interrupted; {plural(len(records), 'row')} kept: {folder.records}", err=True)
        raise typer.Exit(130) from None
    return records, predicted


def _show(records: Sequence[Record], predicted: Sequence[Prediction], given: BenchOptions, folder: RunFolder) -> None:
    """Print and keep the table of latencies and that of rates."""
    from harness.report import engine_beside, formats, latency_table, rates_table, results_table
    from harness.report.table import Document

    latencies = results_table.document(records, latency_table.columns(records))
    parts = [*latencies.parts, *rates_table.document(records, predicted).parts]
    if any(record.executor != "reference" for record in records):
        parts.append(engine_beside.beside_times(records, {one.subject: one for one in predicted}))
    document = Document(parts, latencies.flat, latencies.data)
    folder.write_table(formats.github(document) + "\n")
    given.show(document)
    _say_how_many(records, folder)


def _say_how_many(records: Sequence[Record], folder: RunFolder) -> None:
    ok = sum(record.status == "ok" for record in records)
    say(f"{ok} of {plural(len(records), 'row')} ok; records: {folder.records}", err=True)


def _norm(options: Options, settings: Settings, folder: RunFolder, given: BenchOptions) -> None:
    """Measure the norm by itself; print the table, keep it and the plot."""
    from harness.bench import norm_latency
    from harness.records import atomic
    from harness.report import formats, results_table
    from harness.report.norm_table import columns
    from harness.report.page.norm_page import norm_page

    few = norm_latency.FEW if settings.executor == "reference" else (norm_latency.WIDTHS, norm_latency.TOKENS)
    widths, tokens = (
        _numbers(text, option) or default
        for text, option, default in zip((given.widths, given.tokens), ("--widths", "--tokens"), few, strict=True)
    )
    jobs = norm_latency.jobs(widths, tokens, norm_latency.PRECISIONS, options.lowerings)
    records, _ = _measure(jobs, norm_latency.measure, [options], settings, folder)
    document = results_table.document(records, columns(records))
    folder.write_table(formats.github(document) + "\n")
    given.show(document)
    _say_how_many(records, folder)
    plot = folder.table.with_suffix(".html")
    atomic.write(plot, norm_page(records))
    say(f"plot: {plot}", err=True)
    _fail_if_any(records)


def _numbers(text: str | None, option: str) -> tuple[int, ...]:
    from harness.errors import ArgumentError

    words = [word for word in (text or "").split(",") if word]
    if not all(word.isdecimal() and 0 < int(word) <= 1 << 20 for word in words):
        raise ArgumentError(f"{option}: expected whole numbers such as 64,1024, got {text!r}")
    return tuple(map(int, words))


def _fail_if_any(records: Sequence[Record]) -> None:
    """Exit with 1 if a row failed, or with 2 if all were skipped."""
    statuses = {record.status for record in records}
    if not statuses <= {"ok", "skipped"}:
        raise typer.Exit(1)
    if statuses == {"skipped"}:
        raise typer.Exit(2)
