"""Download a checkpoint from the Hugging Face hub into huggingface_hub's own cache.

``HF_HUB_OFFLINE`` and ``HF_ENDPOINT`` are respected.
"""

from __future__ import annotations

import re
from pathlib import Path

from harness.errors import CheckpointError
from harness.zoo.checkpoint.file_names import INDEX, PICKLE, PICKLE_INDEX, WEIGHTS
from harness.zoo.checkpoint.reading import first_line
from harness.zoo.checkpoint.weight_files import named_weights, shard_names

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


def is_hub_id(source: str) -> bool:
    """Return whether a source has the form of a hub repository, ``owner/name``."""
    return _HUB_ID.fullmatch(source) is not None and ".." not in source


def download(source: str, revision: str | None, *, allow_pickle: bool, trust_remote_code: bool) -> Path:
    """Return the folder of a hub repository in huggingface_hub's cache, with only the files that will be read.

    Raises
    ------
    CheckpointError: if there is no such repository, or the hub cannot be reached and the cache does not have it.
    """
    import huggingface_hub
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    flags = {"allow_pickle": allow_pickle, "trust_remote_code": trust_remote_code}
    try:
        wanted = _wanted(_listed(source, revision), **flags)
        found = huggingface_hub.snapshot_download(
            source, revision=revision, allow_patterns=wanted, ignore_patterns=["*/*"]
        )
        return _with_named(Path(found), source, revision)
    except GatedRepoError:
        raise CheckpointError(f"{source}: the hub gives it to those who accepted its terms: hf auth login") from None
    except RepositoryNotFoundError:
        raise CheckpointError(f"{source}: no such folder, and no such repository on the hub") from None
    except RevisionNotFoundError:
        raise CheckpointError(f"{source}: the hub has no revision {revision!r} of it") from None
    except (LocalEntryNotFoundError, HFValidationError, OSError) as error:
        offline = huggingface_hub.constants.HF_HUB_OFFLINE
        why = (
            "HF_HUB_OFFLINE is set, so the hub was not contacted"
            if offline
            else f"the hub is out of reach: {first_line(error)}"
        )
        raise CheckpointError(f"{source}: no such folder here, not in the hub's cache, and {why}") from None
    except Exception as error:  # huggingface_hub and its transport raise errors of many kinds
        raise CheckpointError(f"{source}: the hub: {type(error).__name__}: {first_line(error)}") from error


SMALL = ("*.json", "*.model", "*.txt", "*.jinja", "*.tiktoken")
"""Patterns of the configuration, indexes and tokenizer."""
TIMEOUT_SECONDS = 10.0
SHARDS = "model-*-of-*.safetensors"
PICKLED_SHARDS = "pytorch_model-*-of-*.bin"


def _listed(source: str, revision: str | None) -> frozenset[str] | None:
    """Return the names of a repository's files; None if the hub cannot be reached."""
    import huggingface_hub
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return None
    try:
        found = huggingface_hub.HfApi().model_info(source, revision=revision, timeout=TIMEOUT_SECONDS)
        return frozenset(one.rfilename for one in found.siblings or ())
    except Exception:  # noqa: BLE001 - the download itself meets and reports the error
        return None


def _wanted(names: frozenset[str] | None, *, allow_pickle: bool, trust_remote_code: bool) -> list[str]:
    """Return the patterns of the repository's files that transformers will read, most of them exact names.

    Variants (``model.fp16.safetensors``), copies in the model's original form (``consolidated.safetensors``,
    ``original/``) and pickle files that are not needed are not downloaded.
    """
    code = ["*.py"] if trust_remote_code else []
    names = names or frozenset()
    if WEIGHTS in names:
        weights = [WEIGHTS]
    elif INDEX in names:
        weights = [SHARDS]
    elif allow_pickle and PICKLE in names:
        weights = [PICKLE]
    elif allow_pickle and PICKLE_INDEX in names:
        weights = [PICKLED_SHARDS]
    else:  # unknown, or under other names
        weights = [WEIGHTS, SHARDS, *([PICKLE, PICKLED_SHARDS] if allow_pickle else [])]
    return [*SMALL, *code, *weights]


def _with_named(folder: Path, source: str, revision: str | None) -> Path:
    """Download the weights that the configuration or an index names, as far as save_pretrained's names miss them."""
    import huggingface_hub

    def fetch(names: list[str]) -> Path:
        lacking = [name for name in names if not (folder / name).is_file()]
        if not lacking:
            return folder
        return Path(huggingface_hub.snapshot_download(source, revision=revision, allow_patterns=lacking))

    named = named_weights(folder)
    if named:
        folder = fetch([named])
    elif (folder / WEIGHTS).is_file():
        return folder
    index = folder / (named or INDEX)
    return fetch(shard_names(index)) if index.suffix == ".json" and index.is_file() else folder
