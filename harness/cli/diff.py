"""``diff``: find the first op at which two models differ on the same input."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.output import say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.interpreter.inspect import Deviation

HEADERS = [
    "op", "type", "shape", "rel L2", "max abs", "smallest A", "largest A", "smallest B", "largest B",
    "overflow A/B", "NaN A/B", "rows zero in B alone",
]  # fmt: skip


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
) -> None:
    """Run two models on the same input; report the first op where they part, and the worst ops after it.

    Exit code 1 if they part.

    Example: ane-harness diff llama llama.mlpackage --tolerance 1e-3
    """
    from tabulate import tabulate

    from harness.explain import divergence as job

    a, b = job.side(first, precision), job.side(second, precision)
    data = job.inputs_for(a, b, inputs)
    found = job.compare(a, b, data, tolerance, worst)
    for one in (a, b):
        if one.from_torch is not None:
            say(f"{one.name}: relative L2 {one.from_torch:.1e} from the eager model")
    if save_intermediates is not None:
        _save(a, b, data, save_intermediates)
    say(f"{len(found.pairs)} values compared, {len(found.unpaired)} in one program only")
    if found.parted is None:
        say(f"nowhere beyond {tolerance:g} relative L2")
        return
    say(f"first parted at {found.parted.first.name} ({found.parted.first.op_type}), beyond {tolerance:g}:")
    say(tabulate([_row(found.parted)], headers=HEADERS, tablefmt="github", disable_numparse=True))
    say("worst from there on:")
    say(tabulate(list(_rows(found.worst)), headers=HEADERS, tablefmt="github", disable_numparse=True))
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


def _rows(deviations: tuple[Deviation, ...]) -> Iterator[list[str]]:
    for one in deviations:
        yield _row(one)


def _row(one: Deviation) -> list[str]:
    a, b = one.first.statistics, one.second.statistics
    return [
        one.first.name if one.first.name == one.second.name else f"{one.first.name} / {one.second.name}",
        one.first.op_type,
        ", ".join(map(str, a.shape)),
        f"{one.rel_l2:.1e}",
        f"{one.max_abs:.1e}",
        *(f"{value:.3g}" for value in (a.smallest, a.largest, b.smallest, b.largest)),
        f"{a.overflows}/{b.overflows}",
        f"{a.nans}/{b.nans}",
        str(one.collapsed_rows),
    ]
