"""The command line's entry: options common to all commands, errors turned into one line and an exit code.

Exit codes: 0 fine, 1 a regression or a failed check, 2 the user or the environment is at fault.
"""

from __future__ import annotations

import functools
import os
import sys
from typing import Annotated, Any

import typer

from harness.cli import (
    accept,
    bench,
    bisect,
    cache,
    compare,
    diff,
    doctor,
    engine,
    expect,
    explain,
    fleet,
    history,
    list_models,
    nightly,
    options,
    placement,
    regimes,
    report,
    rewrite,
    run,
    weights,
)
from harness.cli.output import say
from harness.errors import HarnessError
from harness.records.environment import project_version
from harness.system import log_noise

app = typer.Typer(
    name="ane-harness",
    help="Convert a zoo of language models with and without ane_rms, count their norms, measure their precision.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "token_normalize_func": lambda name: options.FORMER_NAMES.get(name, name),
    },
    epilog="Example: ane-harness run llama. Each command's --help has one of its own.",
)
app.command("list")(list_models.list_models)
app.command("run")(run.run)
app.command("regimes")(regimes.regimes)
app.command("bench")(bench.bench)
app.command("placement")(placement.placement)
app.command("explain")(explain.explain)
app.command("engine")(engine.engine)
app.command("rewrite")(rewrite.rewrite)
app.command("diff")(diff.diff)
app.command("compare")(compare.compare)
app.command("expect")(expect.expect)
app.command("accept")(accept.accept)
app.command("bisect")(bisect.bisect)
app.command("nightly")(nightly.nightly)
app.command("history")(history.history)
app.command("doctor")(doctor.doctor)
app.command("report")(report.report)
app.add_typer(fleet.app, name="fleet")
app.add_typer(cache.app, name="cache")
app.add_typer(weights.app, name="weights")


def _show_version(asked: bool) -> None:  # noqa: FBT001 - typer calls it so
    """Print the version and exit, if it was asked for."""
    if asked:
        say(f"ane-harness {project_version()}")
        raise typer.Exit


@app.callback()
def common(
    *,
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", help="Show all that the libraries say, and check what each pass ensures.")
    ] = False,
) -> None:
    """Convert a zoo of language models with and without ane_rms, count their norms, measure their precision."""
    if verbose:
        from ane_rms.passes.contract import VARIABLE

        os.environ[VARIABLE] = "1"  # children take it over
    else:
        log_noise.hush()


@functools.cache
def _command() -> Any:
    """Return the command line as built from the declarations, once for all calls in this process."""
    return typer.main.get_command(app)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line (default: of this process) and exit."""
    try:
        _command()(arguments)
    except HarnessError as error:
        say(f"ane-harness: {error}", err=True)
        sys.exit(error.exit_code)
