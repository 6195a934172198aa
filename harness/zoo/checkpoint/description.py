"""A checkpoint that has been inspected, as plain data, and the zoo entry it is run as."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from harness.zoo.catalog import ModelSpec
from harness.zoo.checkpoint.reading import CONFIG_LIMIT_BYTES, read_object

if TYPE_CHECKING:
    from collections.abc import Mapping


class Checkpoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A checkpoint that has been looked at: plain data, for a run's plan."""

    source: str
    """Path or hub id, as given."""
    folder: str
    """Where its files are."""
    model_type: str
    """As ``config.json`` names the architecture."""
    architecture: str
    """The transformers class it was saved from; empty where ``config.json`` names none."""
    dtype: str
    """Of its weights, for example ``bfloat16``; several are joined by commas, the most frequent first. Of a GGUF file:
    its quantisation, its name and the beginning of its SHA-256."""
    revision: str = ""
    """Branch, tag or commit asked for; empty for the default one."""
    has_tokenizer: bool = False
    pickled: bool = False
    """Whether its weights are in pickle files, which were allowed."""
    trust_remote_code: bool = False
    digest: str = ""
    """SHA-256 over its configuration, its weights, its tokenizer, and its code if that is run; the first 16 digits.

    Tensors count by name, type, shape and content, not by the file that holds them."""
    files: tuple[str, ...] = ()
    """Names of the files that the digest is over, relative to the folder."""
    own_index: bool = False
    """Whether its shards need an index that this project writes, since theirs is missing or has no metadata."""

    gguf_file: str = ""
    """Name of the GGUF file in ``folder`` that holds everything; empty for a folder of save_pretrained."""
    fields: dict[str, Any] = {}
    """The configuration that a GGUF file gives, under transformers' names; empty otherwise."""

    @property
    def name(self) -> str:
        """What a record calls it: the source, with the revision."""
        return f"{self.source}@{self.revision}" if self.revision else self.source

    def config(self) -> dict[str, Any]:
        """Return ``config.json``, or what a GGUF file says instead of it."""
        if self.gguf_file:
            return self.fields
        return read_object(Path(self.folder, "config.json"), CONFIG_LIMIT_BYTES)


class Question(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whether a checkpoint's weights, configuration and tokenizer fit each other; see `harness.export.fitness`."""

    checkpoint: Checkpoint
    prompts: tuple[str, ...] = ()
    """Texts it is to be run on; none for this project's own."""


def spec_of(checkpoint: Checkpoint, zoo: Mapping[str, ModelSpec]) -> ModelSpec:
    """Return the zoo entry of a checkpoint: its architecture's formula, its own configuration.

    An architecture that the zoo does not have gets an entry without a formula, whose key is its ``model_type``.
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
