"""``run``: convert, count, execute, compare, tabulate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.run import Options
    from harness.store.files import RunFolder
    from harness.store.schema import Record
    from harness.zoo import ModelSpec

POLICIES = "fp16,fp16-blocked,fp16-sequential,fp32"


def run(  # noqa: PLR0913 - an option each
    models: Annotated[list[str] | None, typer.Argument(help="Keys of the zoo. Default: the whole tier.")] = None,
    *,
    tier: Annotated[str, typer.Option(help="Which models, where none is named: quick, or nightly (all).")] = "quick",
    variant: Annotated[list[str] | None, typer.Option(help="off, on or cpu; may be repeated. Default: all.")] = None,
    lowering: Annotated[
        str | None, typer.Option(help="Strategies of the variant on, separated by commas. Default: layer_norm.")
    ] = None,
    frontend: Annotated[str, typer.Option(help="trace (torch.jit.trace) or export (torch.export).")] = "trace",
    precision: Annotated[str | None, typer.Option(help="The executor's policy. Default: fp16.")] = None,
    regimes: Annotated[
        bool,
        typer.Option("--regimes", help="Instead of models: one norm's error by lowering, policy and input regime."),
    ] = False,
    form: Annotated[str, typer.Option("--format", help="github, tsv or json.")] = "github",
    out: Annotated[Path, typer.Option(help="Folder for records and tables.")] = Path("results"),
) -> None:
    """Convert models in each variant, check their norms, measure their precision; records go to --out.

    Example: ane-harness run llama qwen3 --variant off --variant on --lowering layer_norm,max_abs
    """
    from harness import variants, zoo
    from harness.errors import check_name
    from harness.report.table import FORMATS

    check_name("format", form, FORMATS)
    chosen = variants.resolve(variant or [])
    specs = zoo.select(zoo.load_zoo(), models or (), None if models else tier)  # type: ignore[arg-type]

    from ane_rms.passes.strategies import DEFAULT_STRATEGY, STRATEGIES
    from harness.interpreter.precision import resolve_precision

    lowerings = [check_name("lowering", name, STRATEGIES) for name in (lowering or "").split(",") if name]
    policies = (precision or POLICIES).split(",") if regimes else [precision or "fp16"]
    for policy in policies:
        resolve_precision(policy)

    from harness.export import FRONTENDS
    from harness.run import Options, new_run_id
    from harness.store.files import RunFolder

    check_name("frontend", frontend, FRONTENDS)
    folder = RunFolder(out, new_run_id())
    if regimes:
        _regimes(lowerings or list(STRATEGIES), policies, form, folder)
        return
    options = Options(
        variants=tuple(chosen),
        frontend=frontend,
        policy=policies[0],
        lowerings=tuple(lowerings or [DEFAULT_STRATEGY]),
        run_id=folder.run_id,
    )
    records = _models(specs, options, folder)
    typer.echo(FORMATS[form](records))
    _summary(records, folder)


def _models(specs: Sequence[ModelSpec], options: Options, folder: RunFolder) -> list[Record]:
    """Run the models, each record appended as soon as it is there, and write the table."""
    from harness.cli.progress import progress
    from harness.report.table import FORMATS
    from harness.run import run_model, steps

    records: list[Record] = []
    with progress(len(specs) * steps(options)) as announce:
        for spec in specs:
            for record in run_model(spec, options, lambda step, key=spec.key: announce(f"{key}: {step}")):  # type: ignore[misc]
                folder.append(record)
                records.append(record)
    folder.write_table(FORMATS["github"](records) + "\n")
    return records


def _summary(records: Sequence[Record], folder: RunFolder) -> None:
    """Say on stderr what is not ok, and exit with 1 if anything is not."""
    wrong = [record for record in records if record.status != "ok"]
    typer.echo(f"{len(records) - len(wrong)} of {len(records)} rows ok; records: {folder.records}", err=True)
    for record in wrong:
        typer.echo(f"{record.title}: {record.status}: {record.reason}", err=True)
    if wrong:
        raise typer.Exit(1)


def _regimes(lowerings: Sequence[str], policies: Sequence[str], form: str, folder: RunFolder) -> None:
    """Print and keep the table of regimes."""
    from harness import regimes
    from harness.cli.progress import progress

    errors = []
    with progress(1 + len(lowerings) * len(policies)) as announce:
        for error in regimes.measure(lowerings, policies):
            announce(f"{error.lowering} {error.policy}")
            errors.append(error)
    folder.write_table(regimes.render(errors, "github") + "\n")
    typer.echo(regimes.render(errors, form))
