"""Inspect a GGUF file as a checkpoint: its architecture, configuration, quantisation, tokenizer.

transformers reads the weights, see `harness.export.pretrained`; this module only asks it for its architectures.
"""

from __future__ import annotations

import re
from collections import Counter
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import Any

from harness.errors import CheckpointError
from harness.system.extras import install
from harness.zoo.checkpoint.description import Checkpoint
from harness.zoo.checkpoint.gguf_header import MAGIC, Header, read_header
from harness.zoo.checkpoint.hub import is_hub_id
from harness.zoo.checkpoint.reading import file_digest, first_line

SUFFIX = ".gguf"
PACKAGES = ("gguf", "accelerate")
"""Packages of the extra ``gguf``, which transformers needs to read such a file."""

MODEL_TYPES = {
    "qwen2moe": "qwen2_moe",
    "qwen3moe": "qwen3_moe",
    "gpt-oss": "gpt_oss",
    "minimax-m2": "minimax_m2",
    "gemma3": "gemma3_text",
    "gemma4": "gemma4_text",
}
"""transformers' names of GGUF architectures, for those whose names differ."""

_BLOCK = re.compile(r"blk\.(\d+)\.")


def is_gguf(path: Path) -> bool:
    """Return whether a file is a GGUF file by its name or its first bytes."""
    if path.suffix.lower() == SUFFIX:
        return True
    try:
        with path.open("rb") as stream:
            return stream.read(4) == MAGIC
    except OSError:
        return False


def gguf_path(source: str, revision: str | None) -> Path | None:
    """Return the GGUF file that a source names, downloaded if it is in a repository; None for any other source.

    Raises
    ------
    CheckpointError: for a file that does not exist, or that the hub does not serve.
    """
    path = Path(source).expanduser()
    if path.is_file() and is_gguf(path):
        if revision:
            raise CheckpointError(f"{source}: --revision is for hub ids, this is a file")
        return path.resolve()
    repository, colon, name = source.partition(":")
    if colon and name.lower().endswith(SUFFIX) and is_hub_id(repository) and not path.exists():
        return _downloaded(source, repository, name, revision)
    if source.lower().endswith(SUFFIX) and not path.exists():
        raise CheckpointError(f"{source}: no such file; a file of a hub repository is written owner/name:file.gguf")
    return None


def _downloaded(source: str, repository: str, name: str, revision: str | None) -> Path:
    """Return one file of a hub repository, in huggingface_hub's own cache."""
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    try:
        return Path(huggingface_hub.hf_hub_download(repository, name, revision=revision))
    except LocalEntryNotFoundError as error:
        offline = huggingface_hub.constants.HF_HUB_OFFLINE
        unheard = "HF_HUB_OFFLINE is set, so the hub was not contacted"
        why = unheard if offline else f"the hub is out of reach: {first_line(error)}"
        raise CheckpointError(f"{source}: not in the hub's cache, and {why}") from None
    except EntryNotFoundError:
        raise CheckpointError(f"{source}: {repository} has no file {name} on the hub") from None
    except Exception as error:  # huggingface_hub and its transport raise errors of many kinds
        raise CheckpointError(f"{source}: the hub: {type(error).__name__}: {first_line(error)}") from error


def inspect_gguf(source: str, path: Path, revision: str) -> Checkpoint:
    """Check a GGUF file as far as possible without reading its weights, and return its description.

    Raises
    ------
    CheckpointError: in one line, for a missing package, a truncated or damaged file, or an architecture that
    transformers does not read from GGUF.
    """
    if missing := [name for name in PACKAGES if not _is_installed(name)]:
        raise CheckpointError(f"{source}: reading GGUF needs {' and '.join(missing)}: {install('gguf')}")
    header = read_header(path)
    model_type, architecture = _architecture(source, header)
    _check_tensors(source, header)
    digest = file_digest(path)
    quantisation = _quantisation(header)
    return Checkpoint(
        source=source,
        folder=str(path.parent),
        model_type=model_type,
        architecture=architecture,
        dtype=f"GGUF {quantisation}, {path.name}, SHA-256 {digest[:16]}",
        revision=revision,
        has_tokenizer="tokenizer.ggml.tokens" in header.keys,
        digest=digest[:16],
        gguf_file=path.name,
        fields=_fields(header),
    )


def _is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ImportError:  # an import hook may refuse a package
        return False


def _architecture(source: str, header: Header) -> tuple[str, str]:
    """Return the model type and the causal language model's class of a file's architecture."""
    import transformers
    from transformers.integrations.ggml import GGUF_CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    name = header.keys.get("general.architecture")
    if not isinstance(name, str) or not name:
        raise CheckpointError(f"{source}: not a whole GGUF file: general.architecture is missing")
    if (parts := header.keys.get("split.count", 1)) != 1:
        raise CheckpointError(f"{source}: one of {parts} parts of a model; join them with llama-gguf-split --merge")
    model_type = MODEL_TYPES.get(name, name)
    known = {name, model_type} & set(GGUF_CONFIG_MAPPING) - {"general", "tokenizer"}
    architecture = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(model_type)
    if not known or architecture is None:
        raise CheckpointError(
            f"{source}: architecture {name!r}: transformers {transformers.__version__} reads no such language model "
            "from GGUF"
        )
    return model_type, architecture if isinstance(architecture, str) else min(architecture)


def _check_tensors(source: str, header: Header) -> None:
    """Check that the file contains its tensors completely, with the number and width of layers that its keys state."""
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

    if not header.tensors:
        raise CheckpointError(f"{source}: not a whole GGUF file: it holds no tensor")
    for tensor in header.tensors:
        try:
            per_block, block_bytes = GGML_QUANT_SIZES[GGMLQuantizationType(tensor.kind)]
        except (ValueError, KeyError):
            raise CheckpointError(f"{source}: tensor {tensor.name!r} has the unknown type {tensor.kind}") from None
        end = header.data_offset + tensor.offset + prod(tensor.dimensions) // per_block * block_bytes
        if end > header.size_bytes:
            raise CheckpointError(
                f"{source}: truncated: tensor {tensor.name!r} ends at byte {end:,}, the file has {header.size_bytes:,}"
            )
    name = header.keys["general.architecture"]
    blocks = {int(found[1]) for tensor in header.tensors if (found := _BLOCK.match(tensor.name))}
    _expect(source, f"{name}.block_count", header, max(blocks, default=-1) + 1)
    embedding = next((tensor for tensor in header.tensors if tensor.name == "token_embd.weight"), None)
    if embedding is None:
        raise CheckpointError(f"{source}: not a whole GGUF file: token_embd.weight is missing")
    _expect(source, f"{name}.embedding_length", header, embedding.dimensions[0])
    tokens, rows = header.keys.get("tokenizer.ggml.tokens", 0), embedding.dimensions[-1]
    if tokens > rows:
        raise CheckpointError(
            f"{source}: not a whole GGUF file: its tokenizer has {tokens:,} tokens, its embedding {rows:,} rows"
        )
    if tokens and "tokenizer.ggml.model" not in header.keys:
        raise CheckpointError(f"{source}: not a whole GGUF file: it holds tokens, but tokenizer.ggml.model is missing")


def _expect(source: str, key: str, header: Header, found: int) -> None:
    if header.keys.get(key) != found:
        raise CheckpointError(
            f"{source}: not a whole GGUF file: {key} is {header.keys.get(key)!r}, its tensors say {found}"
        )


def _quantisation(header: Header) -> str:
    """Return how the weights are stored: the name in the file, such as ``Q4_K_M``, or its most frequent type."""
    from gguf.constants import GGMLQuantizationType, LlamaFileType

    try:
        return LlamaFileType(header.keys["general.file_type"]).name.removeprefix("MOSTLY_").removeprefix("ALL_")
    except (KeyError, ValueError):
        kinds = Counter(tensor.kind for tensor in header.tensors if len(tensor.dimensions) > 1)
        kind = kinds.most_common(1)[0][0] if kinds else header.tensors[0].kind
        return str(GGMLQuantizationType(kind).name)


def _fields(header: Header) -> dict[str, Any]:
    """Return the configuration in the file's keys, under transformers' names."""
    from transformers.integrations.ggml import GGUF_CONFIG_MAPPING

    name = header.keys["general.architecture"]
    renamed = GGUF_CONFIG_MAPPING.get(MODEL_TYPES.get(name, name)) or GGUF_CONFIG_MAPPING[name]
    fields: dict[str, Any] = {"model_type": MODEL_TYPES.get(name, name)}
    for key, field in renamed.items():
        value = header.keys.get(f"{name}.{key}")
        if isinstance(field, str) and value is not None:
            fields[field] = value
    embedding = next(tensor for tensor in header.tensors if tensor.name == "token_embd.weight")
    return {**fields, "vocab_size": embedding.dimensions[-1]}
