"""The arguments and options of ``run``, each declared once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from harness.cli import options
from harness.cli.table_options import TableOptions


@dataclass(frozen=True, kw_only=True)
class RunOptions(TableOptions):
    """Values as given on the command line."""

    context: typer.Context
    models: options.Models = None
    tier: options.Tier = "quick"
    variant: Annotated[list[str] | None, typer.Option(help="off, on or cpu; may be repeated. Default: all.")] = None
    lowering: options.Lowerings = None
    compression: Annotated[
        str | None,
        typer.Option(help="palette4, palette6, int8, int4, separated by commas: rows beside the plain ones."),
    ] = None
    shape: Annotated[
        str,
        typer.Option(
            help="prefill, decode, flexible or both, with a number of tokens: decode:64. Default: 32, with --text 128."
        ),
    ] = "prefill"
    checkpoint: Annotated[
        str | None,
        typer.Option(metavar="PATH|HUB_ID", help="Instead of the zoo: a saved folder, a GGUF file, or a hub id."),
    ] = None
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of the hub id.")] = None
    prompts: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A prompt a line, for the checkpoint's tokenizer.")
    ] = None
    text: Annotated[
        bool, typer.Option("--text", help="Also perplexity on a text of 600 words, and a greedy continuation.")
    ] = False
    allow_pickle: Annotated[
        bool, typer.Option("--allow-pickle", help="Read weights from pickle files, which can run code.")
    ] = False
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run the code that comes with the checkpoint.")
    ] = False
    size: Annotated[str, typer.Option(help="quick, or full: the published configuration, with random weights.")] = (
        "quick"
    )
    frontend: options.Frontend = "trace"
    rescale: options.Rescale = None
    aim: options.Aim = "peaks"
    precision: Annotated[str | None, typer.Option(help="The executor's policy. Default: fp16.")] = None
    regimes: Annotated[bool, typer.Option("--regimes", help="The same as the command regimes, with its options.")] = (
        False
    )
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", "-j", min=1, help="Models at work side by side. Default: by cores, memory and models."),
    ] = None
    memory: options.Memory = None
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Send the models to the fleet behind this dask scheduler.")
    ] = None
    limit: Annotated[str, typer.Option(help="Time limit of one model, for example 90s, 30m, 2h.")] = "1h"
    cache: Annotated[
        bool, typer.Option("--cache/--no-cache", help="Take packages made before from the cache, and keep new ones.")
    ] = True
    lean: Annotated[
        bool, typer.Option("--lean/--no-lean", help="Convert without copies of the weights; the package is the same.")
    ] = True
    resume: Annotated[
        str | None, typer.Option(metavar="RUN", help="Continue a run that was ended, by its id; it keeps its options.")
    ] = None
    results: options.Results = options.RESULTS
