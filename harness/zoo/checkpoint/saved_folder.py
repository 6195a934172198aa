"""Read a folder as ``save_pretrained`` writes it: ``config.json``, ``*.safetensors``, perhaps a tokenizer.

Pickle files and code that comes with a checkpoint run what they hold when they are read, and are refused unless
asked for.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any

from harness.errors import CheckpointError
from harness.zoo.checkpoint.description import Checkpoint
from harness.zoo.checkpoint.reading import CONFIG_LIMIT_BYTES, INDEX_LIMIT_BYTES, first_line, read_object

if TYPE_CHECKING:
    from pathlib import Path

PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")
INDEX = "model.safetensors.index.json"
WEIGHTS = "model.safetensors"
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json")


def inspect_folder(
    source: str, folder: Path, revision: str, *, allow_pickle: bool, trust_remote_code: bool
) -> Checkpoint:
    """Return a folder's description, once all is checked that can be checked without building the model.

    Raises
    ------
    CheckpointError: in one line, with the flag that allows it where one does.
    """
    config_path = folder / "config.json"
    if not config_path.is_file():
        raise CheckpointError(f"{source}: no config.json in {folder}: expected a folder as save_pretrained writes it")
    config = read_object(config_path, CONFIG_LIMIT_BYTES)
    architecture = _check_config(source, config, trust_remote_code=trust_remote_code)
    shards = _shards(source, folder)
    pickled = [] if shards else _pickled(source, folder, allow_pickle=allow_pickle)
    return Checkpoint(
        source=source,
        folder=str(folder),
        model_type=config["model_type"],
        architecture=architecture,
        dtype=_dtypes(shards) or str(config.get("dtype") or config.get("torch_dtype") or ""),
        revision=revision,
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
            raise CheckpointError(f"{source}: {name}: truncated or damaged: {first_line(error)}") from None
        if lacking:
            raise CheckpointError(f"{source}: {name} lacks {min(lacking)!r}, which {INDEX} says it holds")
    return [folder / name for name in names]


def _shard_names(index: Path) -> dict[str, list[str] | None]:
    """Return the names of the shards in an index, each with its tensors, refusing one that leads elsewhere."""
    weights = read_object(index, INDEX_LIMIT_BYTES).get("weight_map")
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
