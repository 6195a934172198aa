"""``bench``: latency of models, or of the norm by itself, measured alternately in child processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec
import typer

from harness.cli.bench_options import SHAPES, BenchOptions
from harness.cli.option_set import expanded
from harness.cli.output import say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from harness.bench.outcome import Settings
    from harness.bench.session import Bench
    from harness.plan.run_plan import Options
    from harness.records.run_files import RunFolder
    from harness.records.schema import Record
    from harness.report.columns import Column

Subject = TypeVar("Subject")


@expanded
def bench(given: BenchOptions) -> None:
    """Time each model's variants alternately, in a child process; records go to --results.

    On a Mac, Core ML runs them; elsewhere the reference executor does, whose times are no device's: every row says so.

    Example: ane-harness bench llama qwen3 --sustain 60s --strict
    """
    from harness.cli import selection
    from harness.cli.checkpoint_options import given_weights
    from harness.report import latency_table, norm_table

    given.check(norm_table.every_column() if given.norm else latency_table.every_column())
    options, settings = _options(given), _settings(given)
    weights, _ = given_weights(
        given.checkpoint, None, None, models=given.models or (), allow_pickle=False, trust_remote_code=False
    )
    if weights is not None:
        options = msgspec.structs.replace(options, checkpoint=weights, size="full")
    specs, unusable = ([], []) if given.norm else selection.specs(weights, given.models or [], given.tier)
    if given.strict:
        _refuse_spoilt()
    folder = selection.new_folder(given.results)
    options = msgspec.structs.replace(options, run_id=folder.run_id)
    folder.write_asked(selection.others([*specs, *unusable]))
    if given.norm:
        _norm(options, settings, given, folder)
        return
    from harness.bench.session import Bench
    from harness.report.latency_table import columns

    records = _measure(specs, Bench.model, options, settings, folder)
    _show(records, columns(records), given, folder)
    if settings.executor == "coreml" and given.for_people:
        _show_predictions(records, options, given)
    for one in unusable:
        say(one.reason, err=True)
    if unusable:
        raise typer.Exit(2)
    _fail_if_any(records)


def _options(given: BenchOptions) -> Options:
    """Return the options for conversion and measurement."""
    from harness.cli import selection
    from harness.errors import check_name
    from harness.plan import shapes
    from harness.plan.run_plan import Options

    variants = selection.variants(given.variant or ["off", "on"])
    lowerings = selection.lowerings(given.lowering, every=given.norm)
    frontend = selection.frontend(given.frontend)
    check_name("shape", given.shape.partition(":")[0], SHAPES)
    tokens = shapes.parse(given.shape)
    return Options(
        variants=tuple(variants),
        frontend=frontend,
        rescale=selection.rescale(given.rescale, given.aim),
        aim=given.aim,
        lowerings=tuple(lowerings),
        shape=tokens.kind,
        sequence_length=tokens.length,
    )


def _settings(given: BenchOptions) -> Settings:
    """Return the settings of the measurement."""
    from harness.bench.outcome import Settings
    from harness.bench.session import choose_executor
    from harness.cli import quantities

    units = _units(given.units)
    return Settings(
        choose_executor(given.device or ""),
        units=units,
        samples=given.samples,
        sustain_s=quantities.seconds(given.sustain, "--sustain") if given.sustain else 0.0,
        limit_s=quantities.seconds(given.limit, "--limit"),
        strict=given.strict,
        device=given.device or "",
        marks=_machine_marks(),
    )


def _units(names: str | None) -> tuple[str, ...]:
    from harness.bench.outcome import UNITS
    from harness.cli.selection import listed

    return UNITS if names == "all" else tuple(listed("compute unit", names, UNITS))


def _machine_marks() -> tuple[str, ...]:
    """Return the marks for every row of this machine."""
    import platform

    from harness.runtime.diagnosis import neural_engine

    if platform.system() != "Darwin" or neural_engine().state == "ok":
        return ()
    return ("no Neural Engine",)


def _refuse_spoilt() -> None:
    """Raise if the machine's state would spoil every measurement.

    Raises
    ------
    RuntimeUnavailableError: naming the obstacle.
    """
    from harness.bench.condition import STRICT, condition, marks
    from harness.errors import RuntimeUnavailableError

    found = [mark for mark in marks(condition()) if mark in STRICT]
    if found:
        raise RuntimeUnavailableError(f"--strict refuses to measure here: {', '.join(found)}")


def _measure(
    subjects: Sequence[Subject],
    how: Callable[[Bench, Subject], Iterable[Record]],
    options: Options,
    settings: Settings,
    folder: RunFolder,
) -> list[Record]:
    """Measure the subjects one by one, and append each record as soon as it is made."""
    from harness.bench.session import Bench
    from harness.cli.progress import progress

    records: list[Record] = []
    try:
        with progress(len(subjects)) as bar, Bench(options, settings, bar.say) as bench:
            for subject in subjects:
                for record in how(bench, subject):
                    folder.append(record)
                    records.append(record)
                bar.advance()
    except KeyboardInterrupt:  # printed once the bar is off the terminal
        say(f"ane-harness: interrupted; {len(records)} rows are kept: {folder.records}", err=True)
        raise typer.Exit(130) from None
    return records


def _show(records: Sequence[Record], columns: tuple[Column, ...], given: BenchOptions, folder: RunFolder) -> None:
    from harness.report.results_table import document, github

    folder.write_table(github(records, columns) + "\n")
    given.show(document(records, columns))
    ok = sum(record.status == "ok" for record in records)
    say(f"{ok} of {len(records)} rows ok; records: {folder.records}", err=True)


def _show_predictions(records: Sequence[Record], options: Options, given: BenchOptions) -> None:
    """Print the engine model's times beside those measured, if this machine's family is known."""
    from harness.engine.probes import family_of_chip
    from harness.explain.engine_prediction import of_model
    from harness.records.environment import environment
    from harness.report.engine_beside import beside_times
    from harness.report.table import Document

    family = family_of_chip(environment().chip)
    if family is None or options.shape != "prefill":
        return
    asked = {(record.model, record.variant, record.lowering) for record in records if record.status == "ok"}
    found = {}
    for model, variant, lowering in sorted(asked):
        how = {"lowering": lowering or options.lowerings[0], "frontend": options.frontend}
        (prediction,) = of_model(model, [family], [variant], **how)
        found[" ".join(filter(None, (model, variant, lowering)))] = prediction
    beside = beside_times(records, found)
    given.show(Document([beside if beside.rows else "no row of these runs has both a measured and a predicted time"]))


def _norm(options: Options, settings: Settings, given: BenchOptions, folder: RunFolder) -> None:
    """Measure the norm by itself; print the table, keep it and the plot."""
    from harness.bench import norm_latency
    from harness.records import atomic
    from harness.report.norm_table import columns
    from harness.report.page.norm_page import norm_page

    few = norm_latency.FEW if settings.executor == "reference" else (norm_latency.WIDTHS, norm_latency.TOKENS)
    widths, tokens = (
        _numbers(text, option) or default
        for text, option, default in zip((given.widths, given.tokens), ("--widths", "--tokens"), few, strict=True)
    )
    jobs = norm_latency.jobs(widths, tokens, norm_latency.PRECISIONS, options.lowerings)
    records = _measure(jobs, norm_latency.measure, options, settings, folder)
    _show(records, columns(records), given, folder)
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
    if any(record.status != "ok" for record in records):
        raise typer.Exit(1)
