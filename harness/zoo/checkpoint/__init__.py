"""Checkpoints: where the weights of a model are, and whether they can be read, before anything heavy is imported.

A checkpoint is a folder as ``save_pretrained`` writes it, the id of a repository on the Hugging Face hub, a GGUF file,
or a GGUF file of a repository: ``owner/name:file.gguf``.
"""

from __future__ import annotations

from pathlib import Path

from harness.errors import CheckpointError
from harness.zoo.checkpoint.description import Checkpoint, spec_of
from harness.zoo.checkpoint.gguf_file import gguf_path, inspect_gguf
from harness.zoo.checkpoint.hub import download, is_hub_id
from harness.zoo.checkpoint.saved_folder import inspect_folder

__all__ = ["Checkpoint", "inspect_checkpoint", "spec_of"]


def inspect_checkpoint(
    source: str, revision: str | None = None, *, allow_pickle: bool = False, trust_remote_code: bool = False
) -> Checkpoint:
    """Find a checkpoint, download it if need be, and check all that can be checked without building the model.

    Raises
    ------
    CheckpointError: in one line, with the flag that allows it where one does.
    """
    if (path := gguf_path(source, revision)) is not None:
        return inspect_gguf(source, path, revision or "")
    folder = _local(source, revision) or download(source, revision, allow_pickle=allow_pickle)
    return inspect_folder(
        source, folder, revision or "", allow_pickle=allow_pickle, trust_remote_code=trust_remote_code
    )


def _local(source: str, revision: str | None) -> Path | None:
    """Return the folder that a source names, None for what can only be a hub id."""
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
