"""Download a checkpoint from the Hugging Face hub into huggingface_hub's own cache.

``HF_HUB_OFFLINE`` and ``HF_ENDPOINT`` are respected.
"""

from __future__ import annotations

import re
from pathlib import Path

from harness.errors import CheckpointError
from harness.zoo.checkpoint.reading import first_line
from harness.zoo.checkpoint.saved_folder import PICKLED

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


def is_hub_id(source: str) -> bool:
    """Return whether a source is spelled as a repository of the hub: ``owner/name``."""
    return _HUB_ID.fullmatch(source) is not None and ".." not in source


def download(source: str, revision: str | None, *, allow_pickle: bool) -> Path:
    """Return the folder of a hub repository in huggingface_hub's cache."""
    import huggingface_hub
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    wanted = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", *(PICKLED if allow_pickle else ())]
    try:
        return Path(huggingface_hub.snapshot_download(source, revision=revision, allow_patterns=wanted))
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
