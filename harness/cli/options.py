"""Arguments and options that several commands share, each declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Models = Annotated[
    list[str] | None, typer.Argument(help="Keys of the zoo. Default: the whole tier.", metavar="[MODEL]...")
]
Tier = Annotated[str, typer.Option(help="Which models, where none is named: quick, nightly (all), or trained.")]
Lowerings = Annotated[
    str | None, typer.Option(help="Strategies of the variant on, separated by commas. Default: layer_norm.")
]
Frontend = Annotated[str, typer.Option(help="trace (torch.jit.trace) or export (torch.export), for a zoo model.")]
_TARGET = typer.Argument(help="Key of the zoo, or path of an .mlpackage.", metavar="MODEL|PACKAGE")
Target = Annotated[str, _TARGET]
OptionalTarget = Annotated[str | None, _TARGET]
CheckpointSource = Annotated[
    str | None,
    typer.Option("--checkpoint", metavar="PATH|HUB_ID", help="Instead: a saved folder, a GGUF file, or a hub id."),
]

Jobs = Annotated[int, typer.Option("--jobs", "-j", min=1, help="Models at work side by side.")]
Memory = Annotated[
    str | None, typer.Option(help="Memory for all of them, for example 20G. Default: 85 % of the machine's.")
]

Rescale = Annotated[
    str | None,
    typer.Option(
        metavar="auto|off|FACTOR",
        help="Scale what exceeds float16, exactly: by calibration, not at all, or the residual stream by a power of "
        "two. Default: auto for a checkpoint, else as the zoo file says.",
    ),
]
Aim = Annotated[
    str,
    typer.Option(help="Of --rescale auto: peaks, or sums: the sums of squares inside norms as well, in steps."),
]

Run = Annotated[str, typer.Argument(help="A run's id or its beginning, latest~1, or a file.", metavar="RUN")]
OnlyModels = Annotated[list[str] | None, typer.Option("--model", help="Only this model; may be repeated.")]
OnlyTier = Annotated[str | None, typer.Option("--tier", help="Only the models of this tier.")]

Results = Annotated[Path, typer.Option("--results", help="Folder of runs, tables and baselines.")]
RESULTS = Path("results")
"""The default of :data:`Results`."""
FORMER_NAMES = {"out": "results"}
"""Options by their former names, which are still accepted."""
