"""``explain``: list every norm site of a zoo model or a package, whether it is fused, and why."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.cli import options
from harness.cli.option_set import expanded
from harness.cli.table_options import TableOptions


@expanded
def explain(
    target: options.OptionalTarget = None,
    *,
    checkpoint: options.CheckpointSource = None,
    frontend: options.Frontend = "trace",
    axes: Annotated[str, typer.Option(help="last, or any: trailing axes and single inner ones, too.")] = "last",
    units: Annotated[
        str, typer.Option(help="Compute units that a zoo model is converted for, or unset: ALL, CPU_AND_GPU, ...")
    ] = "CPU_AND_NE",
    for_ane: Annotated[bool, typer.Option("--for-ane", help="Fuse and lower a zoo model for any --units.")] = False,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Run a zoo model, and list how near its values come to float16's end.")
    ] = False,
    rescale: options.Rescale = None,
    aim: options.Aim = "peaks",
    family: Annotated[
        str | None, typer.Option(help="m1 ... m5, separated by commas: what lowering auto chooses there, and why.")
    ] = None,
    shown: TableOptions,
) -> None:
    """List every norm site: fused or not, spelling, axes, epsilon, shape, reason; and what lowering auto chooses.

    Example: ane-harness explain qwen3 --units ALL --for-ane
    """
    from dataclasses import replace

    from harness.bench.outcome import UNITS
    from harness.cli import selection
    from harness.engine import families
    from harness.errors import ArgumentError, check_name
    from harness.interpreter.package import package_path
    from harness.plan.variants import VARIANTS
    from harness.report.fusion_table import SITES, document
    from harness.zoo.subject import is_checkpoint, subject_of

    shown.check(SITES)
    check_name("compute unit", units, ("unset", *UNITS))
    keys = families.choose([name for name in (family or "").split(",") if name])
    target = selection.one_target(target, checkpoint)
    path = None if checkpoint or is_checkpoint(target) else package_path(target)
    rescaling = selection.rescale(rescale, aim)
    if path is not None:
        for option, given in (("--calibrate", calibrate), ("--rescale", rescale), ("--for-ane", for_ane)):
            if given:
                raise ArgumentError(
                    f"{option}: only for a zoo model or a checkpoint, which is converted; not for {path}"
                )
    else:
        subject_of(target)  # a name or a file that cannot be used is refused before torch is imported
    from ane_rms.passes.fuse import AXES
    from harness.explain.fusion import Explained, of_model, of_package
    from harness.explain.lowering_choice import automatic

    check_name("axes", axes, AXES)
    if path is None:
        variant = replace(VARIANTS["on"], compute_units="" if units == "unset" else units, for_ane=for_ane)
        found = of_model(target, frontend, variant, axes=axes, calibrate=calibrate, rescale=rescaling, aim=aim)
    else:
        found = Explained(of_package(path, axes=axes))
    shown.show(document(found.report, found.peaks, automatic(found, keys) if found.report.fused else ()))
