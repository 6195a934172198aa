"""Find a checkpoint and check that its weights can be read, before any large library is imported.

A checkpoint is a folder as ``save_pretrained`` writes it, the id of a repository on the Hugging Face hub, a GGUF file,
or a GGUF file of a repository: ``owner/name:file.gguf``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import CheckpointError
from harness.system.text import is_unicode
from harness.zoo.checkpoint.description import Checkpoint, Question, spec_of
from harness.zoo.checkpoint.gguf_file import gguf_path, inspect_gguf
from harness.zoo.checkpoint.hub import download, is_hub_id
from harness.zoo.checkpoint.saved_folder import inspect_folder, with_digest

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Checkpoint", "Question", "check_unchanged", "inspect_checkpoint", "spec_of"]


def inspect_checkpoint(
    source: str,
    revision: str | None = None,
    *,
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
    check: Callable[[Checkpoint], None] = lambda _: None,
) -> Checkpoint:
    """Find a checkpoint, download it if necessary, and check everything that can be checked without building the model.

    Parameters
    ----------
    source: a folder, or the id of a repository on the hub.
    revision: branch, tag or commit of the hub id.
    allow_pickle: whether pickle files, which can run code, are read.
    trust_remote_code: whether code in the checkpoint is run.
    check: called before every byte is read for the digest; it raises an error for an unsuitable checkpoint.

    Raises
    ------
    CheckpointError: in one line, with the flag that allows it if there is one.
    """
    if not is_unicode(str(Path(source).expanduser().absolute())):
        raise CheckpointError(f"{source}: its path is not UTF-8, so no record can name it: rename it")
    if (path := gguf_path(source, revision)) is not None:
        found = inspect_gguf(source, path, revision or "")
        check(found)
        return found
    flags = {"allow_pickle": allow_pickle, "trust_remote_code": trust_remote_code}
    folder = _local(source, revision) or download(source, revision, **flags)
    found = inspect_folder(source, folder, revision or "", **flags)
    check(found)
    return with_digest(found, folder)


def check_unchanged(checkpoint: Checkpoint) -> None:
    """Refuse a checkpoint whose files have changed since a run began.

    Raises
    ------
    CheckpointError: if its digest differs, or its files can no longer be read.
    """
    place = Path(checkpoint.folder, checkpoint.gguf_file)
    if not place.exists():
        raise CheckpointError(f"{checkpoint.source}: {place} is gone, whose weights the run began with")
    now = _digest_now(checkpoint)
    if now != checkpoint.digest:
        raise CheckpointError(
            f"{checkpoint.source}: its files changed since the run began (digest {checkpoint.digest}, now {now}): "
            "its rows would mix two models; begin a new run"
        )


def _digest_now(checkpoint: Checkpoint) -> str:
    """Return the current digest of a checkpoint's files."""
    folder = Path(checkpoint.folder)
    if checkpoint.gguf_file:
        return inspect_gguf(checkpoint.source, folder / checkpoint.gguf_file, checkpoint.revision).digest
    flags = {"allow_pickle": checkpoint.pickled, "trust_remote_code": checkpoint.trust_remote_code}
    return with_digest(inspect_folder(checkpoint.source, folder, checkpoint.revision, **flags), folder).digest


def _local(source: str, revision: str | None) -> Path | None:
    """Return the folder that a source names; None for a source that can only be a hub id."""
    path = Path(source).expanduser()
    if not source:
        raise CheckpointError("the checkpoint has no name: expected a folder or a hub id")
    if path.is_dir():
        if revision:
            raise CheckpointError(f"{source}: --revision is for hub ids, this is a folder")
        return path.resolve()
    if path.exists():
        raise CheckpointError(
            f"{source}: expected a folder as save_pretrained writes it or a GGUF file, found another file"
        )
    if not is_hub_id(source):
        raise CheckpointError(f"{source}: no such folder, and no hub id either (owner/name)")
    return None
