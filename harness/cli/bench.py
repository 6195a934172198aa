"""``bench``: latency of models, or of the norm by itself, measured alternately in child processes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from harness.cli import options
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

SHAPES = ("prefill", "decode")
"""Shapes whose predicts are all alike, and so can be timed; the default one first."""


def bench(
    models: options.Models = None,
    *,
    tier: options.Tier = "quick",
    variant: Annotated[
        list[str] | None, typer.Option(help="off, on or cpu; may be repeated. Default: off, on.")
    ] = None,
    lowering: options.Lowerings = None,
    frontend: options.Frontend = "trace",
    shape: Annotated[
        str, typer.Option(help="prefill or decode, with a number of tokens if another than 32 is meant: decode:64.")
    ] = SHAPES[0],
    units: Annotated[
        str | None, typer.Option(help="Compute units to sweep, separated by commas, or all. Default: the variant's.")
    ] = None,
    samples: Annotated[int, typer.Option(min=2, help="Predicts of each program in the burst.")] = 100,
    sustain: Annotated[str | None, typer.Option(help="Go on after the burst, for example 60s.")] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse to measure on battery, throttled, or under Rosetta.")
    ] = False,
    limit: Annotated[str, typer.Option(help="Time limit of one measurement, for example 90s, 30m.")] = "300s",
    device: Annotated[str | None, typer.Option(help="Name of a connected iPhone or iPad to measure on.")] = None,
    norm: Annotated[
        bool, typer.Option("--norm", help="Instead of models: the norm by itself, by lowering, width and tokens.")
    ] = False,
    widths: Annotated[str | None, typer.Option(help="Of --norm, separated by commas.")] = None,
    tokens: Annotated[str | None, typer.Option(help="Of --norm, separated by commas.")] = None,
    form: options.Format = "github",
    out: options.Out = Path("results"),
) -> None:
    """Time each model's variants alternately, in a child process; records go to --out.

    On a Mac, Core ML runs them; elsewhere the reference executor does, whose times are no device's: every row says so.

    Example: ane-harness bench llama qwen3 --sustain 60s --strict
    """
    from harness.bench.outcome import Settings
    from harness.bench.session import choose_executor
    from harness.cli import quantities, selection
    from harness.errors import check_name
    from harness.plan import shapes
    from harness.plan.run_plan import Options
    from harness.report.results_table import FORMATS

    FORMATS.check(form)
    variants = selection.variants(variant or ["off", "on"])
    lowerings, policies = selection.names(lowering, None, frontend, regimes=norm)
    chosen_units = _units(units)
    check_name("shape", shape.partition(":")[0], SHAPES)
    taken = shapes.parse(shape)
    settings = Settings(
        choose_executor(device or ""),
        units=chosen_units,
        samples=samples,
        sustain_s=quantities.seconds(sustain, "--sustain") if sustain else 0.0,
        limit_s=quantities.seconds(limit, "--limit"),
        strict=strict,
        device=device or "",
        marks=_machine_marks(),
    )
    specs, unusable = ([], []) if norm else selection.select(models or [], tier)
    if strict:
        _refuse_spoilt()
    folder = selection.new_folder(out)
    options = Options(
        variants=tuple(variants),
        frontend=frontend,
        policy="fp16" if norm else policies[0],
        lowerings=tuple(lowerings),
        shape=taken.kind,
        sequence_length=taken.length,
        run_id=folder.run_id,
    )
    if norm:
        folder.write_asked(selection.others([]))
        _norm(options, settings, (widths, tokens), form, folder)
        return
    from harness.report.latency_table import columns

    folder.write_asked(selection.others([*specs, *unusable]))
    records = _measure(specs, lambda bench, spec: bench.model(spec), options, settings, folder)
    _show(records, columns(records), form, folder)
    for one in unusable:
        say(one.reason, err=True)
    if unusable:
        raise typer.Exit(2)
    _fail_if_any(records)


def _units(names: str | None) -> tuple[str, ...]:
    from harness.bench.outcome import UNITS
    from harness.cli.selection import listed

    return UNITS if names == "all" else tuple(listed("compute unit", names, UNITS))


def _machine_marks() -> tuple[str, ...]:
    """Return what every row of this machine must say."""
    import platform

    from harness.runtime.diagnosis import neural_engine

    if platform.system() != "Darwin" or neural_engine().state == "ok":
        return ()
    return ("no Neural Engine",)


def _refuse_spoilt() -> None:
    """Raise where the machine's state spoils every measurement before it began.

    Raises
    ------
    RuntimeUnavailableError: naming what is in the way.
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
    """Measure what is to be measured one by one, each record appended as soon as it is there."""
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
    except KeyboardInterrupt:  # said when the bar is off the terminal
        say(f"ane-harness: interrupted; {len(records)} rows are kept: {folder.records}", err=True)
        raise typer.Exit(130) from None
    return records


def _show(records: Sequence[Record], shown: tuple[Column, ...], form: str, folder: RunFolder) -> None:
    from harness.report.results_table import FORMATS

    folder.write_table(FORMATS["github"](records, shown) + "\n")
    say(FORMATS[form](records, shown))
    ok = sum(record.status == "ok" for record in records)
    say(f"{ok} of {len(records)} rows ok; records: {folder.records}", err=True)


def _norm(
    options: Options, settings: Settings, shapes: tuple[str | None, str | None], form: str, folder: RunFolder
) -> None:
    """Measure the norm by itself; print the table, keep it and the plot."""
    from harness.bench import norm_latency
    from harness.report.norm_table import columns, plot

    few = norm_latency.FEW if settings.executor == "reference" else (norm_latency.WIDTHS, norm_latency.TOKENS)
    widths, tokens = (
        _numbers(text, option) or default
        for text, option, default in zip(shapes, ("--widths", "--tokens"), few, strict=True)
    )
    jobs = norm_latency.jobs(widths, tokens, norm_latency.PRECISIONS, options.lowerings)
    records = _measure(jobs, norm_latency.measure, options, settings, folder)
    _show(records, columns(records), form, folder)
    picture = folder.table.with_suffix(".svg")
    plot(records, picture)
    say(f"plot: {picture}", err=True)
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
