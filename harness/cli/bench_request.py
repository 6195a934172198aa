"""The command line of ``bench`` as options of a run, settings of a measurement, packages and shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.cli.bench_options import SHAPES, BenchOptions

if TYPE_CHECKING:
    from pathlib import Path

    from harness.bench.outcome import Settings
    from harness.plan.run_plan import Options
    from harness.plan.shapes import Shape


def packages(given: BenchOptions) -> list[Path]:
    """Return the packages named instead of models.

    Raises
    ------
    ArgumentError: if packages are mixed with models, or given with options that need a model.
    """
    from harness.errors import ArgumentError
    from harness.interpreter.package import package_path

    found = {word: path for word in given.models or () if (path := package_path(word)) is not None}
    if not found:
        return []
    if models := [word for word in given.models or () if word not in found]:
        raise ArgumentError(f"{models[0]}: name packages or models of the zoo, not both")
    needs_model = {
        "--checkpoint": given.checkpoint,
        "--norm": given.norm,
        "--variant": given.variant,
        "--lowering": given.lowering,
        "--compression": given.compression,
        "--rescale": given.rescale,
        "--units": given.units,
        "--shape": given.shape != SHAPES[0],
    }
    if wrong := [name for name, value in needs_model.items() if value]:
        raise ArgumentError(f"{wrong[0]}: a package is timed as it is; leave it out")
    return list(found.values())


def shapes(names: str) -> list[Shape]:
    """Return the shapes named, separated by commas."""
    from harness.errors import check_name
    from harness.plan.shapes import parse

    for name in names.split(","):
        check_name("shape", name.partition(":")[0], SHAPES)
    return [parse(name) for name in names.split(",")]


def options_of(given: BenchOptions) -> Options:
    """Return the options for conversion and measurement."""
    from harness.cli import selection
    from harness.interpreter.precision import DEFAULT_POLICY
    from harness.plan.run_plan import Options

    variants = selection.variants(given.variant or ["off", "on"])
    lowerings = selection.lowerings(given.lowering, every=given.norm)
    frontend = selection.frontend(given.frontend)
    return Options(
        variants=tuple(variants),
        frontend=frontend,
        rescale=selection.rescale(given.rescale, given.aim),
        aim=given.aim,
        lowerings=tuple(lowerings),
        compressions=selection.compressions(given.compression, DEFAULT_POLICY),
    )


def settings_of(given: BenchOptions) -> Settings:
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
        families=_families(given.family),
        strict=given.strict,
        device=given.device or "",
        marks=_machine_marks(),
    )


def _units(names: str | None) -> tuple[str, ...]:
    from harness.bench.outcome import UNITS
    from harness.cli.selection import listed

    return UNITS if names == "all" else tuple(listed("compute unit", names, UNITS))


def _families(names: str | None) -> tuple[str, ...]:
    """Return the families to predict: those named, or this Mac's, or elsewhere the first one that was measured."""
    from harness.engine import families
    from harness.engine.probes import family_of_chip
    from harness.records.environment import environment

    if names:
        return tuple(families.choose(names.split(",")))
    return (family_of_chip(environment().chip) or families.choose([])[0],)


def _machine_marks() -> tuple[str, ...]:
    """Return the marks for every row of this machine."""
    import platform

    from harness.runtime.diagnosis import neural_engine

    if platform.system() != "Darwin" or neural_engine().state == "ok":
        return ()
    return ("no Neural Engine",)


def refuse_spoilt() -> None:
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
