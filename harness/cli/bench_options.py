"""The arguments and options of ``bench``, each declared once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from harness.cli import options
from harness.cli.table_options import TableOptions

SHAPES = ("prefill", "decode")
"""Shapes whose predicts are all alike, so that they can be timed; the default one first."""


@dataclass(frozen=True, kw_only=True)
class BenchOptions(TableOptions):
    """Values as given on the command line."""

    models: Annotated[
        list[str] | None,
        typer.Argument(help="Keys of the zoo, or packages. Default: the whole tier.", metavar="[MODEL|PACKAGE]..."),
    ] = None
    tier: options.Tier = "quick"
    variant: Annotated[list[str] | None, typer.Option(help="off, on or cpu; may be repeated. Default: off, on.")] = None
    lowering: options.Lowerings = None
    compression: Annotated[
        str | None,
        typer.Option(help="palette4, palette6, int8, int4, separated by commas: rows beside the plain ones."),
    ] = None
    checkpoint: options.CheckpointSource = None
    frontend: options.Frontend = "trace"
    rescale: options.Rescale = None
    aim: options.Aim = "peaks"
    shape: Annotated[
        str,
        typer.Option(
            help="prefill, decode or both of them separated by a comma, with a number of tokens if another than 32 is "
            "meant: prefill:64,decode:64."
        ),
    ] = SHAPES[0]
    family: Annotated[
        str | None,
        typer.Option(help="Families of Neural Engine whose predicted rate is shown. Default: this Mac's, or m1."),
    ] = None
    units: Annotated[
        str | None, typer.Option(help="Compute units to sweep, separated by commas, or all. Default: the variant's.")
    ] = None
    samples: Annotated[int, typer.Option(min=2, help="Predicts of each program in the burst.")] = 100
    sustain: Annotated[str | None, typer.Option(help="Go on after the burst, for example 60s.")] = None
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse to measure on battery, throttled, or under Rosetta.")
    ] = False
    limit: Annotated[str, typer.Option(help="Time limit of one measurement, for example 90s, 30m.")] = "300s"
    device: Annotated[str | None, typer.Option(help="Name of a connected iPhone or iPad to measure on.")] = None
    norm: Annotated[
        bool, typer.Option("--norm", help="Instead of models: the norm by itself, by lowering, width and tokens.")
    ] = False
    widths: Annotated[str | None, typer.Option(help="Of --norm, separated by commas.")] = None
    tokens: Annotated[str | None, typer.Option(help="Of --norm, separated by commas.")] = None
    results: options.Results = options.RESULTS
