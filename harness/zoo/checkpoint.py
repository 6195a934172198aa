"""Checkpoints: where the weights of a model are, and whether they can be read, before anything heavy is imported.

A checkpoint is a folder as ``save_pretrained`` writes it (``config.json``, ``*.safetensors``, perhaps a tokenizer), or
the id of a repository on the Hugging Face hub, which is downloaded into huggingface_hub's own cache; ``HF_HUB_OFFLINE``
and ``HF_ENDPOINT`` are respected. Pickle files and code that comes with a checkpoint run what they hold when they
are read, and are refused unless asked for.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from harness.errors import CheckpointError
from harness.system import limited_read
from harness.zoo.catalog import ModelSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

CONFIG_LIMIT_BYTES = 4_000_000
INDEX_LIMIT_BYTES = 32_000_000
"""Larger files are not read whole: the index of a model of 685 billion parameters has 9 MB."""

PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")
INDEX = "model.safetensors.index.json"
WEIGHTS = "model.safetensors"
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


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
    """Of its weights, for example ``bfloat16``; several are joined by commas, the most frequent first."""
    revision: str = ""
    """Branch, tag or commit asked for; empty for the default one."""
    has_tokenizer: bool = False
    pickled: bool = False
    """Whether its weights are in pickle files, which were allowed."""
    trust_remote_code: bool = False
    digest: str = ""
    """SHA-256 over its configuration, its weights, its tokenizer, and its code if that is run; the first 16 digits."""

    @property
    def name(self) -> str:
        """What a record calls it: the source, with the revision."""
        return f"{self.source}@{self.revision}" if self.revision else self.source

    def config(self) -> dict[str, Any]:
        """Return ``config.json``."""
        return _json(Path(self.folder, "config.json"), CONFIG_LIMIT_BYTES)


def inspect_checkpoint(
    source: str, revision: str | None = None, *, allow_pickle: bool = False, trust_remote_code: bool = False
) -> Checkpoint:
    """Find a checkpoint, download it if need be, and check all that can be checked without building the model.

    Raises
    ------
    CheckpointError: in one line, with the flag that allows it where one does.
    """
    folder = _local(source, revision) or _downloaded(source, revision, allow_pickle=allow_pickle)
    config_path = folder / "config.json"
    if not config_path.is_file():
        raise CheckpointError(f"{source}: no config.json in {folder}: expected a folder as save_pretrained writes it")
    config = _json(config_path, CONFIG_LIMIT_BYTES)
    architecture = _check_config(source, config, trust_remote_code=trust_remote_code)
    shards = _shards(source, folder)
    pickled = [] if shards else _pickled(source, folder, allow_pickle=allow_pickle)
    return Checkpoint(
        source=source,
        folder=str(folder),
        model_type=config["model_type"],
        architecture=architecture,
        dtype=_dtypes(shards) or str(config.get("dtype") or config.get("torch_dtype") or ""),
        revision=revision or "",
        has_tokenizer=any((folder / name).is_file() for name in TOKENIZERS),
        pickled=bool(pickled),
        trust_remote_code=trust_remote_code,
        digest=_digest([config_path, *(shards or pickled), *_beside(folder, trust_remote_code=trust_remote_code)]),
    )


def _beside(folder: Path, *, trust_remote_code: bool) -> list[Path]:
    """Return the other files that decide a result: the tokenizer's, and code that is run."""
    code = sorted(folder.glob("*.py")) if trust_remote_code else []
    return [*(folder / name for name in TOKENIZERS if (folder / name).is_file()), *code]


def _digest(paths: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.name.encode())
        with path.open("rb") as stream:
            while chunk := stream.read(1 << 22):
                digest.update(chunk)
    return digest.hexdigest()[:16]


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
        raise CheckpointError(f"{source}: expected a folder as save_pretrained writes it, found a file")
    if not _HUB_ID.fullmatch(source) or ".." in source:
        raise CheckpointError(f"{source}: no such folder, and no hub id either (owner/name)")
    return None


def _downloaded(source: str, revision: str | None, *, allow_pickle: bool) -> Path:
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
        why = "HF_HUB_OFFLINE forbids to ask the hub" if offline else f"the hub is out of reach: {_first_line(error)}"
        raise CheckpointError(f"{source}: no such folder here, not in the hub's cache, and {why}") from None
    except Exception as error:  # huggingface_hub and its transport raise errors of many kinds
        raise CheckpointError(f"{source}: the hub: {type(error).__name__}: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return text[0][:200] if text else type(error).__name__


def _json(path: Path, limit_bytes: int) -> dict[str, Any]:
    """Return a JSON file's object, refusing one too large to be read whole."""
    try:
        content = json.loads(limited_read.read(path, limit_bytes).decode())
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: not JSON: {_first_line(error)}") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: expected an object, got {type(content).__name__}")
    return content


def _check_config(source: str, config: dict[str, Any], *, trust_remote_code: bool) -> str:
    """Return the architecture, if transformers has it as a causal language model of float weights."""
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or not model_type:
        raise CheckpointError(f"{source}: config.json: model_type: expected a name, got {model_type!r}")
    if "quantization_config" in config:
        raise CheckpointError(f"{source}: its weights are quantised already; expected float weights")
    architectures = config.get("architectures") or []
    if not isinstance(architectures, list) or not all(isinstance(name, str) for name in architectures):
        raise CheckpointError(f"{source}: config.json: architectures: expected a list of names, got {architectures!r}")
    architecture = architectures[0] if architectures else ""
    if "auto_map" in config and trust_remote_code:
        return architecture
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    if model_type not in CONFIG_MAPPING_NAMES:
        mend = "it brings code of its own, which runs only with --trust-remote-code" if "auto_map" in config else ""
        import transformers

        known = f"transformers {transformers.__version__} has no such architecture"
        raise CheckpointError(f"{source}: config.json: model_type {model_type!r}: {mend or known}")
    causal = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(model_type)
    causal_names = {causal} if isinstance(causal, str) else set(causal or ())
    if not causal_names or (architecture and architecture not in causal_names):
        raise CheckpointError(f"{source}: {architecture or model_type} is no causal language model")
    return architecture or min(causal_names)


def _shards(source: str, folder: Path) -> list[Path]:
    """Return the checkpoint's safetensors files, whole ones all; none where it has no such weights."""
    from safetensors import SafetensorError, safe_open

    index = folder / INDEX
    if index.is_file():
        names = _shard_names(index)
    elif (folder / WEIGHTS).is_file():
        names = {WEIGHTS: None}
    else:
        return []
    for name, tensors in names.items():
        path = folder / name
        if not path.is_file():
            raise CheckpointError(f"{source}: {name} is missing, which {INDEX} names")
        try:
            with safe_open(path, framework="np") as shard:
                lacking = set(tensors or ()) - set(shard.keys())
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{source}: {name}: truncated or damaged: {_first_line(error)}") from None
        if lacking:
            raise CheckpointError(f"{source}: {name} lacks {min(lacking)!r}, which {INDEX} says it holds")
    return [folder / name for name in names]


def _shard_names(index: Path) -> dict[str, list[str] | None]:
    """Return the names of the shards in an index, each with its tensors, refusing one that leads elsewhere."""
    weights = _json(index, INDEX_LIMIT_BYTES).get("weight_map")
    if not isinstance(weights, dict) or not weights:
        raise CheckpointError(f"{index}: weight_map: expected tensors and their files, got {type(weights).__name__}")
    names: dict[str, list[str] | None] = {}
    for tensor, name in weights.items():
        if not isinstance(name, str) or not re.fullmatch(r"[\w][\w.-]*\.safetensors", name):
            raise CheckpointError(f"{index}: {tensor}: expected a .safetensors file of the same folder, got {name!r}")
        (names.setdefault(name, []) or names[name]).append(tensor)  # type: ignore[union-attr]
    return names


def _pickled(source: str, folder: Path, *, allow_pickle: bool) -> list[Path]:
    """Return the pickle files of a checkpoint without safetensors, if they are allowed."""
    pickled = sorted(path for pattern in PICKLED for path in folder.glob(pattern))
    if pickled and not allow_pickle:
        raise CheckpointError(
            f"{source}: holds pickle files alone ({pickled[0].name}), which can run code when read: "
            "save it as safetensors, or allow it with --allow-pickle"
        )
    if not pickled:
        hint = "" if allow_pickle else "; pickle files are looked for only with --allow-pickle"
        raise CheckpointError(f"{source}: no {WEIGHTS} and no {INDEX}{hint}")
    return pickled


def _dtypes(shards: list[Path]) -> str:
    """Return the names of the weights' element types, the most frequent first."""
    from collections import Counter

    from safetensors import safe_open

    names = {"BF16": "bfloat16", "F16": "float16", "F32": "float32", "F64": "float64"}
    found: Counter[str] = Counter()
    for path in shards:
        with safe_open(path, framework="np") as shard:
            found.update(shard.get_slice(name).get_dtype() for name in shard.keys())  # noqa: SIM118 - not a dict
    return ", ".join(names.get(name, name.lower()) for name, _ in found.most_common())


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
