"""Resolve a name on the command line to a model of the zoo with seeded weights, or to a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import check_name
from harness.zoo import catalog
from harness.zoo.checkpoint import inspect_checkpoint, spec_of
from harness.zoo.checkpoint.gguf_file import SUFFIX, is_gguf

if TYPE_CHECKING:
    from harness.zoo.catalog import ModelSpec
    from harness.zoo.checkpoint import Checkpoint


def is_checkpoint(name: str) -> bool:
    """Return whether a name is that of a checkpoint on the disk, or of a GGUF file on the hub."""
    path = Path(name).expanduser()
    if name.lower().endswith(SUFFIX):
        return True
    return (path / "config.json").is_file() or (path.is_file() and is_gguf(path))


def subject_of(name: str) -> tuple[ModelSpec, Checkpoint | None]:
    """Return the zoo entry of a name, and the checkpoint if the name is a checkpoint's.

    A key of the zoo takes precedence. A folder, a file, or a hub id (``owner/name``) is a checkpoint.

    Raises
    ------
    UnknownNameError: for a name that is neither a key nor a checkpoint.
    CheckpointError: for a checkpoint that cannot be read.
    """
    known = catalog.load_zoo()
    if name not in known and ("/" in name or is_checkpoint(name) or Path(name).expanduser().exists()):
        checkpoint = inspect_checkpoint(name)
        return spec_of(checkpoint, known), checkpoint
    return known[check_name("model", name, known)], None
