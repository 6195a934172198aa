"""``engine``: predict how each generation of Neural Engine treats a program."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import options
from harness.cli.option_set import expanded
from harness.cli.output import say
from harness.cli.table_options import TableOptions

if TYPE_CHECKING:
    from harness.records.predictions import Prediction


@expanded
def engine(
    target: Annotated[
        str | None, typer.Argument(help="Key of the zoo, or path of an .mlpackage.", metavar="[MODEL|PACKAGE]")
    ] = None,
    *,
    family: Annotated[
        str | None, typer.Option(help="m1, m2, m3, m4, m5, separated by commas. Default: all of them.")
    ] = None,
    variant: Annotated[list[str] | None, typer.Option(help="Of a model; may be repeated. Default: on.")] = None,
    lowering: options.Lowerings = None,
    frontend: options.Frontend = "trace",
    checkpoint: Annotated[
        str | None,
        typer.Option(metavar="PATH|HUB_ID", help="Instead of the zoo: a saved folder, a GGUF file, or a hub id."),
    ] = None,
    prompts: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A prompt a line, for the checkpoint's calibration.")
    ] = None,
    rescale: options.Rescale = None,
    aim: options.Aim = "peaks",
    probe: Annotated[
        bool, typer.Option("--probe", help="Run the rules that name a value on this Mac: measured beside published.")
    ] = False,
    executor: Annotated[
        str | None, typer.Option(help="With --probe: reference, to run the probes under the policies instead.")
    ] = None,
    results: Annotated[
        Path | None,
        typer.Option("--results", help="Results folder to keep the prediction in, for the report's page."),
    ] = None,
    shown: TableOptions,
) -> None:
    """Predict, per family: ops that leave the Neural Engine and why, values that break, an estimated latency.

    A prediction from published measurements, never a measurement. A model of the zoo and a checkpoint are run in
    float32 first, to see their peaks; a package is read only.

    Example: ane-harness engine llama --family m1,m5
    """
    from harness.cli import selection
    from harness.engine import families
    from harness.errors import ArgumentError
    from harness.records.predictions import write
    from harness.report.engine_table import COLUMNS, document

    shown.check(() if probe else COLUMNS)
    keys = families.choose([name for name in (family or "").split(",") if name])
    if probe:
        _probe(keys, executor, shown, named=bool(family))
        return
    if executor is not None:
        raise ArgumentError(f"--executor {executor}: only with --probe")
    if (target is None) == (checkpoint is None):
        raise ArgumentError("name a model of the zoo, a package, or --checkpoint: one of them")
    found = _predictions(target, checkpoint, prompts, keys, (variant, lowering, frontend), (rescale, aim))
    shown.show(document(found))
    if results is not None:
        subject = Path(target or checkpoint or "").name
        with closing(selection.new_folder(results)) as folder:  # an id, and no run
            kept = write(results, f"{folder.run_id}-{subject}", found)
        say(f"kept in {kept}", err=True)


def _predictions(
    target: str | None,
    checkpoint: str | None,
    prompts: Path | None,
    keys: list[str],
    how: tuple[list[str] | None, str | None, str],
    range_of_values: tuple[str | None, str],
) -> list[Prediction]:
    from harness.cli import selection
    from harness.cli.checkpoint_options import given_weights
    from harness.errors import ArgumentError
    from harness.interpreter.package import package_path

    variant, lowering, frontend = how
    frontend, lowerings = selection.frontend(frontend), selection.lowerings(lowering)
    variants, (given, aim) = selection.variants(variant or ["on"]), range_of_values
    rescale = (selection.rescale(given, aim), aim)
    weights, texts = given_weights(checkpoint, None, prompts, models=(), allow_pickle=False, trust_remote_code=False)
    from harness.explain import engine_prediction  # imports torch, after the checkpoint was inspected

    if weights is not None:
        return [
            one
            for name in lowerings
            for one in engine_prediction.of_checkpoint(weights, texts, keys, variants, lowering=name, rescale=rescale)
        ]
    path = package_path(target or "")
    if path is not None:
        if given is not None:
            raise ArgumentError(f"--rescale {given}: only for a model or a checkpoint; {path} is converted already")
        return engine_prediction.of_file(path, keys)
    return [
        one
        for name in lowerings
        for one in engine_prediction.of_model(
            target or "", keys, variants, lowering=name, frontend=frontend, rescale=rescale
        )
    ]


def _probe(keys: list[str], executor: str | None, shown: TableOptions, *, named: bool) -> None:
    """Print each probe's result beside the published one."""
    from harness.bench.probing import run
    from harness.bench.session import choose_executor
    from harness.engine.probes import family_of_chip
    from harness.errors import RuntimeUnavailableError, check_name
    from harness.records.environment import environment
    from harness.report.probe_table import document
    from harness.runtime import EXECUTORS, coreml

    name = check_name("executor", executor, EXECUTORS) if executor else "coreml"
    if name == "reference":
        answers = [(key, list(run(name, f"ane-{key}"))) for key in keys]
    else:
        try:
            coreml.check_available()
        except RuntimeUnavailableError as error:
            raise RuntimeUnavailableError(
                f"--probe needs a Mac: {error}; --probe --executor reference runs the probes under the policies"
            ) from None
        own = family_of_chip(environment().chip)
        family = keys[0] if named or own is None else own
        answers = [(family, list(run(choose_executor(), "")))]
    shown.show(document(answers, "predicted" if name == "reference" else "measured"))
