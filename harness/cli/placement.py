"""``placement``: show where Core ML plans to run each op of a zoo model's variants, or of a package."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.cli import options
from harness.cli.option_set import expanded
from harness.cli.table_options import TableOptions


@expanded
def placement(
    target: options.Target,
    *,
    variant: Annotated[
        list[str] | None, typer.Option(help="Of a zoo model; may be repeated. Default: off, on.")
    ] = None,
    lowering: options.Lowerings = None,
    frontend: options.Frontend = "trace",
    units: Annotated[str | None, typer.Option(help="Compute units. Default: the variant's, or CPU_AND_NE.")] = None,
    limit: Annotated[str, typer.Option(help="Time limit of one plan, for example 90s, 30m.")] = "300s",
    ops: Annotated[bool, typer.Option("--ops/--no-ops", help="Whether to list every op.")] = True,
    shown: TableOptions,
) -> None:
    """Show the device planned for each op, the shares of ops and cost on the Neural Engine, and the hand-offs.

    Planned, not traced. Needs macOS 14.4.

    Example: ane-harness placement llama --no-ops
    """
    from harness.bench.outcome import UNITS
    from harness.bench.planner import Planner
    from harness.bench.session import choose_executor
    from harness.cli import quantities
    from harness.engine.probes import family_of_chip
    from harness.errors import check_name
    from harness.interpreter.package import package_path
    from harness.records.environment import environment
    from harness.report.engine_beside import beside_plan
    from harness.report.placement_table import OPS, SUMMARY, document
    from harness.runtime import coreml

    shown.check(OPS if ops else SUMMARY)
    if units:
        check_name("compute unit", units, UNITS)
    seconds = quantities.seconds(limit, "--limit")
    coreml.check_available()
    family = family_of_chip(environment().chip)
    planner = Planner(choose_executor(), seconds, family=family)
    path = package_path(target)
    if path is not None:
        found = [planner.of_package(path, units or "CPU_AND_NE")]
    else:
        from harness.cli import selection
        from harness.plan.run_plan import Options
        from harness.zoo import catalog

        lowerings = selection.lowerings(lowering)
        (spec,) = catalog.select(catalog.load_zoo(), [target], None)
        options = Options(
            tuple(selection.variants(variant or ["off", "on"])),
            frontend=selection.frontend(frontend),
            lowerings=tuple(lowerings),
        )
        found = planner.of_model(spec, options, units or "")
    programs = [(one.name, one.ops, one.norms) for one in found]
    beside = [beside_plan(one.name, family, one.ops, one.predicted) for one in found] if family is not None else []
    shown.show(document(programs, every_op=ops, beside=beside))
