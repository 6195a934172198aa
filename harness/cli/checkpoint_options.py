"""The options of ``run`` for a checkpoint and its prompts, which replace the zoo's seeded models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from harness.zoo.checkpoint import Checkpoint


FITNESS = "harness.export.fitness:handle"
"""Handler of the child process that checks a checkpoint."""
FITNESS_SECONDS = 600.0
"""Time limit for the check of names and shapes, far above its duration."""


def given_weights(
    source: str | None,
    revision: str | None,
    prompts: Path | None,
    *,
    models: Sequence[str],
    allow_pickle: bool,
    trust_remote_code: bool,
) -> tuple[Checkpoint | None, tuple[str, ...]]:
    """Return the checkpoint and the prompts asked for; None and no prompts without ``--checkpoint``.

    Raises
    ------
    ArgumentError, CheckpointError: in one line.
    """
    from harness.zoo import checkpoint
    from harness.zoo.prompts import read

    if source is None:
        given = {
            "--revision": revision is not None,
            "--prompts": prompts is not None,
            "--allow-pickle": allow_pickle,
            "--trust-remote-code": trust_remote_code,
        }
        if any(given.values()):
            raise ArgumentError(f"{next(name for name in given if given[name])}: only with --checkpoint")
        return None, ()
    if models:
        raise ArgumentError(f"--checkpoint {source}: name models of the zoo or a checkpoint, not both")
    texts = () if prompts is None else read(prompts)

    def check(found: Checkpoint) -> None:
        if texts and not found.has_tokenizer:
            raise ArgumentError(f"--prompts {prompts}: the checkpoint {source} has no tokenizer")
        check_fitness(found, texts)

    found = checkpoint.inspect_checkpoint(
        source, revision, allow_pickle=allow_pickle, trust_remote_code=trust_remote_code, check=check
    )
    return found, texts


def check_fitness(found: Checkpoint, prompts: tuple[str, ...]) -> None:
    """Check in a child process, which imports torch, that weights, configuration and tokenizer fit each other.

    Raises
    ------
    CheckpointError: in one line, naming the part that does not fit.
    """
    import msgspec

    from harness.errors import CheckpointError
    from harness.workers import Child, End, Limits
    from harness.zoo import checkpoint

    child = Child()
    try:
        body = msgspec.json.encode(checkpoint.Question(found, prompts))
        for message in child.ask(FITNESS, body, Limits(seconds=FITNESS_SECONDS)):
            if isinstance(message, End) and message.status != "ok":
                named = message.reason.startswith(found.source)
                raise CheckpointError(message.reason if named else f"{found.source}: {message.reason}")
    finally:
        child.close()
