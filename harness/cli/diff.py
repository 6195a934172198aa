"""``diff``: find the first op at which two models differ on the same input."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from harness.cli.option_set import expanded
from harness.cli.table_options import TableOptions


@expanded
def diff(
    first: Annotated[str, typer.Argument(metavar="A", help="An .mlpackage, or a zoo key for its PyTorch model.")],
    second: Annotated[str, typer.Argument(metavar="B", help="An .mlpackage, or a zoo key for its PyTorch model.")],
    *,
    precision: Annotated[str, typer.Option(help="Policy that packages run under.")] = "fp16",
    tolerance: Annotated[float, typer.Option(help="Relative L2 from which on a value counts as different.")] = 1e-2,
    worst: Annotated[int, typer.Option(help="How many of the worst ops to list.")] = 10,
    inputs: Annotated[Path | None, typer.Option(help="An .npz file of arrays by input name.")] = None,
    save_intermediates: Annotated[
        Path | None, typer.Option(help="Folder for a.npz and b.npz: every value of every op.")
    ] = None,
    shown: TableOptions,
) -> None:
    """Run two models on the same input; report the first op where they part, and the worst ops after it.

    Exit code 1 if they part.

    Example: ane-harness diff llama llama.mlpackage --tolerance 1e-3
    """
    from harness.report.difference_table import COLUMNS, document

    shown.check(COLUMNS)
    from harness.explain import divergence as job

    a, b = job.side(first, precision), job.side(second, precision)
    data = job.inputs_for(a, b, inputs)
    found = job.compare(a, b, data, tolerance, worst)
    if save_intermediates is not None:
        _save(a, b, data, save_intermediates)
    distances = [(one.name, one.from_torch) for one in (a, b) if one.from_torch is not None]
    shown.show(document(found, tolerance, distances))
    if found.parted is not None:
        raise typer.Exit(1)


def _save(a: Any, b: Any, data: Any, folder: Path) -> None:
    from harness.errors import OutputError
    from harness.explain import divergence as job

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made: {error.strerror}") from None
    job.save(a, data, folder / "a.npz")
    job.save(b, data, folder / "b.npz")
