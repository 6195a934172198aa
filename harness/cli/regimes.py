"""``regimes``: measure the error of one norm by lowering, numeric policy and input regime."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli import options
from harness.cli.option_set import expanded
from harness.cli.table_options import TableOptions

POLICIES = "fp16,fp16-blocked,fp16-sequential,fp32,ane-m1,ane-m5"
"""Policies measured if none is named."""

SMALLEST, LARGEST = 8, 32768
"""Bounds of ``--width``."""


@expanded
def regimes(
    *,
    lowering: Annotated[str | None, typer.Option(help="Lowerings, separated by commas. Default: all.")] = None,
    precision: Annotated[
        str | None, typer.Option(help=f"The executor's policies, separated by commas. Default: {POLICIES}.")
    ] = None,
    width: Annotated[
        str | None, typer.Option(help="Elements of a row, separated by commas, 8 to 32768. Default: 2048.")
    ] = None,
    results: options.Results = options.RESULTS,
    shown: TableOptions,
) -> None:
    """Measure one norm by itself: its error by lowering, numeric policy and kind of input (ordinary, zeros, spikes).

    Example: ane-harness regimes --lowering layer_norm,max_abs --precision fp16,fp16-blocked
    """
    measure_regimes(lowering, precision, results, shown, width)


def measure_regimes(
    lowering: str | None, precision: str | None, results: Path, shown: TableOptions, width: str | None = None
) -> None:
    """Print and keep the table of regimes.

    Raises
    ------
    UnknownNameError: for an unknown lowering, policy or format.
    ArgumentError: for a width that is no number from 8 to 32768.
    """
    from harness.cli import selection
    from harness.cli.progress import progress
    from harness.interpreter.precision import POLICIES as KNOWN
    from harness.records.regime_errors import write
    from harness.report import formats
    from harness.report.regimes_table import document

    shown.check()
    lowerings = selection.lowerings(lowering, every=True)
    policies = selection.listed("precision", precision or POLICIES, KNOWN)
    widths = _widths(width)
    folder = selection.new_folder(results)
    from harness.measure.input_regimes import measure

    errors = []
    with progress(len(widths) * len(lowerings) * len(policies)) as bar:
        for error in measure(lowerings, policies, widths):
            bar.say(f"{error.lowering} {error.policy} {error.width}")
            errors.append(error)
    folder.close()  # a table, and no run
    folder.write_table(formats.github(document(errors)) + "\n")
    write(results, folder.run_id, errors)
    shown.show(document(errors))


def _widths(given: str | None) -> list[int]:
    """Return the widths of ``--width``; 2048 if it was not given."""
    from harness.errors import ArgumentError

    found = []
    for word in (given or "2048").split(","):
        if not word.strip().isdecimal() or not SMALLEST <= int(word) <= LARGEST:
            raise ArgumentError(f"--width {given}: expected numbers from {SMALLEST} to {LARGEST}, got {word!r}")
        found.append(int(word))
    return list(dict.fromkeys(found))
