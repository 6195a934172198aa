"""``explain``: list every norm site of a zoo model or a package, whether it is fused, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli import options
from harness.cli.output import say

if TYPE_CHECKING:
    from collections.abc import Iterator

    import ane_rms
    from harness.explain.fusion import Explained


def explain(
    target: options.OptionalTarget = None,
    *,
    checkpoint: options.CheckpointSource = None,
    frontend: options.Frontend = "trace",
    axes: Annotated[str, typer.Option(help="last, or any: trailing axes and single inner ones, too.")] = "last",
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Run a zoo model, and list how near its values come to float16's end.")
    ] = False,
    rescale: options.Rescale = None,
    aim: options.Aim = "peaks",
    family: Annotated[
        str | None, typer.Option(help="m1 ... m5, separated by commas: what lowering auto chooses there, and why.")
    ] = None,
) -> None:
    """List every norm site: fused or not, spelling, axes, epsilon, shape, reason; and what lowering auto chooses.

    Example: ane-harness explain qwen3
    """
    from tabulate import tabulate

    from ane_rms.passes.fuse import AXES
    from harness.cli import selection
    from harness.engine import families
    from harness.errors import check_name
    from harness.explain.fusion import Explained, of_model, of_package
    from harness.explain.lowering_choice import automatic
    from harness.interpreter.package import package_path
    from harness.zoo.subject import is_checkpoint

    check_name("axes", axes, AXES)
    keys = families.choose([name for name in (family or "").split(",") if name])
    target = selection.one_target(target, checkpoint)
    path = None if checkpoint or is_checkpoint(target) else package_path(target)
    rescaling = selection.rescale(rescale, aim)
    if path is None:
        found = of_model(target, frontend, axes=axes, calibrate=calibrate, rescale=rescaling, aim=aim)
    else:
        found = Explained(of_package(path, axes=axes))
    report = found.report
    rows = list(_rows(report))
    headers = ["site", "module", "", "spelling", "axes", "epsilon", "gamma", "shape", "reason"]
    if rows:
        say(tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True))
    if found.peaks:
        say(tabulate(list(_peaks(found)), headers=PEAK_HEADERS, tablefmt="github", disable_numparse=True))
    for entry in report.rescaled:
        say(str(entry))
    for warning in report.warnings:
        say(f"warning: {': '.join(filter(None, (warning.name, warning.reason)))}")
    if report.fused:
        chosen = automatic(found, keys)
        say(tabulate(chosen, ["families", "lowering auto", "sites", "why"], tablefmt="github", disable_numparse=True))
    say(report.counts())


def _rows(report: ane_rms.FusionReport) -> Any:
    for site in report.fused:
        bound = f"deviates by up to {site.deviation_bound:.1e}" if site.deviation_bound else ""
        yield [site.name, site.module, "fused", site.spelling, *_numbers(site), bound]
    for one in report.lowered:
        yield [one.name, one.module, "lowered", one.form, *_numbers(one), ""]
    for miss in report.missed:
        yield [miss.name, miss.module, "missed", miss.op_type, "", "", "", _plain(miss.shape), miss.reason]


PEAK_HEADERS = ("value", "peak", "after", "ceiling", "of the ceiling", "after")


def _peaks(found: Explained) -> Iterator[list[str]]:
    for name, before, after, ceiling in found.peaks:
        yield [
            name,
            f"{before:,.3g}",
            f"{after:,.3g}",
            f"{ceiling:,.0f}",
            f"{before / ceiling:.1%}",
            f"{after / ceiling:.1%}",
        ]


def _numbers(site: ane_rms.Site | ane_rms.LoweredSite) -> list[str]:
    return [_plain(site.axes), f"{site.epsilon:g}", "yes" if site.has_gamma else "no", _plain(site.shape)]


def _plain(values: tuple[int | str, ...]) -> str:
    return ", ".join(map(str, values))
