"""The tier ``trained``: zoo models whose trained weights were fetched."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.cli.output import say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.zoo.catalog import ModelSpec
    from harness.zoo.checkpoint import Checkpoint


def with_weights(specs: Sequence[ModelSpec]) -> tuple[list[ModelSpec], dict[str, Checkpoint]]:
    """Return the models whose trained weights were fetched, at their published size, and the weights by key.

    The others are named on stderr with the command that fetches them.

    Raises
    ------
    CheckpointError: if none of the models' weights is fetched, or a file is damaged.
    """
    import msgspec

    from harness.errors import CheckpointError
    from harness.zoo.checkpoint import inspect_checkpoint
    from harness.zoo.weights_folder import fetched

    found: list[ModelSpec] = []
    checkpoints: dict[str, Checkpoint] = {}
    missing = []
    for spec in specs:
        path = None if spec.trained is None else fetched(spec.trained)
        if path is None or spec.trained is None:
            missing.append(spec.key)
            continue
        checkpoint = inspect_checkpoint(str(path))
        if checkpoint.digest != spec.trained.sha256[:16]:
            raise CheckpointError(f"{path}: damaged: fetch it anew with: ane-harness weights get {spec.key}")
        checkpoints[spec.key] = msgspec.structs.replace(checkpoint, source=spec.trained.name)
        found.append(msgspec.structs.replace(spec, full=checkpoint.config(), quick={}))
    mends = [f"ane-harness weights get {key}" for key in missing]
    if not found:
        raise CheckpointError(f"--tier trained: no trained weights are fetched: {' or '.join(mends)}")
    for key, mend in zip(missing, mends, strict=True):
        say(f"ane-harness: {key} is left out, its weights are not fetched: {mend}", err=True)
    return found, checkpoints
