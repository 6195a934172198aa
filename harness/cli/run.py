"""``run``: convert, count, execute, compare, tabulate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def run(
    models: Annotated[list[str] | None, typer.Argument(help="Keys of the zoo. Default: the whole tier.")] = None,
    *,
    tier: Annotated[str, typer.Option(help="Which models, where none is named.")] = "quick",
    variant: Annotated[list[str] | None, typer.Option(help="off, on or cpu; may be repeated. Default: all.")] = None,
    frontend: Annotated[str, typer.Option(help="trace (torch.jit.trace) or export (torch.export).")] = "trace",
    precision: Annotated[str, typer.Option(help="The executor's policy: fp16, fp32, fp16-sequential ...")] = "fp16",
    form: Annotated[str, typer.Option("--format", help="github, tsv or json.")] = "github",
    out: Annotated[Path, typer.Option(help="Folder for records and tables.")] = Path("results"),
) -> None:
    """Convert models in each variant, check their norms, measure their precision; records go to --out.

    Example: ane-harness run llama qwen3 --variant off --variant on
    """
    from harness import variants, zoo
    from harness.cli.progress import progress
    from harness.errors import UnknownNameError
    from harness.interpreter.precision import resolve_precision
    from harness.report.table import FORMATS
    from harness.store.files import RunFolder

    known = zoo.load_zoo()
    specs = zoo.select(known, models) if models else zoo.select(known, tier=tier)  # type: ignore[arg-type]
    chosen = variants.resolve(variant or [])
    resolve_precision(precision)
    if form not in FORMATS:
        raise UnknownNameError("format", form, FORMATS)
    from harness.export import FRONTENDS

    if frontend not in FRONTENDS:
        raise UnknownNameError("frontend", frontend, FRONTENDS)

    from harness.run import Options, run_model, steps

    options = Options(variants=tuple(chosen), frontend=frontend, policy=precision)
    folder = RunFolder(out, options.run_id)
    records: list[Any] = []
    with progress(len(specs) * steps(options)) as announce:
        for spec in specs:
            for record in run_model(spec, options, lambda step, key=spec.key: announce(f"{key}: {step}")):  # type: ignore[misc]
                folder.append(record)
                records.append(record)
    folder.write_table(FORMATS["github"](records) + "\n")
    typer.echo(FORMATS[form](records))
    wrong = [record for record in records if record.status != "ok"]
    typer.echo(f"{len(records) - len(wrong)} of {len(records)} rows ok; records: {folder.records}", err=True)
    for record in wrong:
        typer.echo(f"{record.model} {record.variant}: {record.status}: {record.reason}", err=True)
    if wrong:
        raise typer.Exit(1)
