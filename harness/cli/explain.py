"""``explain``: every norm site of a zoo model or of a package, fused or not, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli import options
from harness.cli.output import say

if TYPE_CHECKING:
    import ane_rms


def explain(
    target: options.Target,
    *,
    frontend: options.Frontend = "trace",
    axes: Annotated[str, typer.Option(help="last, or any: trailing axes and single inner ones, too.")] = "last",
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Run a zoo model, and warn of inputs that exceed float16.")
    ] = False,
) -> None:
    """List every norm site: fused or not, spelling, axes, epsilon, shape, reason.

    Example: ane-harness explain qwen3
    """
    from tabulate import tabulate

    from ane_rms.passes.fuse import AXES
    from harness.errors import check_name
    from harness.explain.fusion import of_model, of_package
    from harness.interpreter.package import package_path

    check_name("axes", axes, AXES)
    path = package_path(target)
    report = of_model(target, frontend, axes=axes, calibrate=calibrate) if path is None else of_package(path, axes=axes)
    rows = list(_rows(report))
    headers = ["site", "module", "", "spelling", "axes", "epsilon", "gamma", "shape", "reason"]
    if rows:
        say(tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True))
    for warning in report.warnings:
        say(f"warning: {': '.join(filter(None, (warning.name, warning.reason)))}")
    say(report.counts())


def _rows(report: ane_rms.FusionReport) -> Any:
    for site in report.fused:
        bound = f"deviates by up to {site.deviation_bound:.1e}" if site.deviation_bound else ""
        yield [site.name, site.module, "fused", site.spelling, *_numbers(site), bound]
    for one in report.lowered:
        yield [one.name, one.module, "lowered", one.form, *_numbers(one), ""]
    for miss in report.missed:
        yield [miss.name, miss.module, "missed", miss.op_type, "", "", "", _plain(miss.shape), miss.reason]


def _numbers(site: ane_rms.Site | ane_rms.LoweredSite) -> list[str]:
    return [_plain(site.axes), f"{site.epsilon:g}", "yes" if site.has_gamma else "no", _plain(site.shape)]


def _plain(values: tuple[int | str, ...]) -> str:
    return ", ".join(map(str, values))
