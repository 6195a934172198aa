"""Describe an inspected checkpoint as plain data, and make the zoo entry that it is run as."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from harness.zoo.catalog import ModelSpec
from harness.zoo.checkpoint.reading import CONFIG_LIMIT_BYTES, read_object

if TYPE_CHECKING:
    from collections.abc import Mapping


class Checkpoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An inspected checkpoint, as plain data for a run's plan."""

    source: str
    """Path or hub id, as the user gave it."""
    folder: str
    """Folder of its files."""
    model_type: str
    """Name of the architecture in ``config.json``."""
    architecture: str
    """The transformers class it was saved from; empty if ``config.json`` names none."""
    dtype: str
    """Element type of its weights, for example ``bfloat16``; several are joined by commas, the most frequent first.
    For a GGUF file: its quantisation, its name and the beginning of its SHA-256."""
    revision: str = ""
    """Requested branch, tag or commit; empty for the default one."""
    has_tokenizer: bool = False
    pickled: bool = False
    """Whether its weights are in pickle files, which the user allowed."""
    trust_remote_code: bool = False
    digest: str = ""
    """SHA-256 over its configuration, its weights, its tokenizer, and its code if that is run; the first 16 digits.

    Tensors enter by name, type, shape and content, not by the file that contains them."""
    files: tuple[str, ...] = ()
    """Names of the files that the digest covers, relative to the folder."""
    own_index: bool = False
    """Whether this project must write an index: there is none, it has no metadata, or the files have other names."""

    gguf_file: str = ""
    """Name of the GGUF file in ``folder`` that is the checkpoint; empty for a folder of save_pretrained."""
    fields: dict[str, Any] = {}
    """The configuration in a GGUF file, under transformers' names; empty for any other checkpoint."""

    @property
    def name(self) -> str:
        """The checkpoint's name in records: the source, with the revision."""
        return f"{self.source}@{self.revision}" if self.revision else self.source

    def config(self) -> dict[str, Any]:
        """Return ``config.json``, or the configuration in a GGUF file."""
        if self.gguf_file:
            return self.fields
        return read_object(Path(self.folder, "config.json"), CONFIG_LIMIT_BYTES)


class Question(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The question whether a checkpoint's weights, configuration and tokenizer fit; see `harness.export.fitness`."""

    checkpoint: Checkpoint
    prompts: tuple[str, ...] = ()
    """Texts that it will be run on; if empty, this project's own."""


def spec_of(checkpoint: Checkpoint, zoo: Mapping[str, ModelSpec]) -> ModelSpec:
    """Return the zoo entry of a checkpoint: its architecture's formula with its own configuration.

    An architecture that is not in the zoo gets an entry without a formula, whose key is its ``model_type``.
    """
    found = [spec for spec in zoo.values() if spec.architecture == checkpoint.architecture]
    near = next((spec for spec in found if spec.key == checkpoint.model_type), found[0] if found else None)
    if near is not None:
        return msgspec.structs.replace(near, published=checkpoint.name, full=checkpoint.config(), quick={})
    return ModelSpec(
        key=checkpoint.model_type,
        title=checkpoint.model_type,
        architecture=checkpoint.architecture,
        config_class="",
        published=checkpoint.name,
        tier="nightly",
        norms="",
        gamma_seed=0,
        full=checkpoint.config(),
        quick={},
    )
