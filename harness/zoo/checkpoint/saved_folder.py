"""Read a folder written by ``save_pretrained``: ``config.json``, ``*.safetensors``, and optionally a tokenizer.

Pickle files and code in a checkpoint can execute anything when they are read, so they are refused unless the user
allows them.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from harness.errors import CheckpointError
from harness.zoo.checkpoint.architecture import causal_architecture
from harness.zoo.checkpoint.description import Checkpoint
from harness.zoo.checkpoint.expected_shapes import shape_problem
from harness.zoo.checkpoint.file_names import CONFIG
from harness.zoo.checkpoint.first_bytes import LFS, told
from harness.zoo.checkpoint.other_folders import without_config
from harness.zoo.checkpoint.quantised import quantisation
from harness.zoo.checkpoint.reading import CONFIG_LIMIT_BYTES, TOKENIZER_LIMIT_BYTES, read_object
from harness.zoo.checkpoint.weight_files import read_headers, resolve

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from harness.zoo.checkpoint.headers import Tensor

TOKENIZERS = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json")
"""Files of which a checkpoint with a tokenizer has at least one."""
BESIDE_TOKENIZERS = (
    *("merges.txt", "vocab.txt", "added_tokens.json", "special_tokens_map.json"),
    *("spiece.model", "sentencepiece.bpe.model", "tekken.json", "tiktoken.model", "chat_template.jinja"),
)
"""Further files that a tokenizer reads."""
DTYPES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32", "F64": "float64"}
_CHUNK_BYTES = 1 << 22


def inspect_folder(
    source: str, folder: Path, revision: str, *, allow_pickle: bool, trust_remote_code: bool
) -> Checkpoint:
    """Check a folder by its headers and small files, and return its description without a digest.

    Raises
    ------
    CheckpointError: in one line, with the flag that allows it if there is one.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise CheckpointError(f"{source}: {without_config(folder)}")
    config = read_object(path, CONFIG_LIMIT_BYTES)
    weights = resolve(source, folder, config, allow_pickle=allow_pickle)
    tensors = {} if weights.pickled else read_headers(source, weights)
    if method := quantisation(folder, config, tensors):
        raise CheckpointError(f"{source}: its weights are quantised already: {method}; expected float weights")
    architecture = causal_architecture(source, config, trust_remote_code=trust_remote_code)
    if not trust_remote_code and (problem := shape_problem(config, tensors)):
        raise CheckpointError(f"{source}: {problem}")
    _check_tokenizer(source, folder)
    beside = (CONFIG, *TOKENIZERS, *BESIDE_TOKENIZERS)
    code = sorted(path.name for path in folder.glob("*.py")) if trust_remote_code else []
    return Checkpoint(
        source=source,
        folder=str(folder),
        model_type=config["model_type"],
        architecture=architecture,
        dtype=_dtypes(tensors) or str(config.get("dtype") or config.get("torch_dtype") or ""),
        revision=revision,
        has_tokenizer=any((folder / name).is_file() for name in TOKENIZERS),
        pickled=weights.pickled,
        trust_remote_code=trust_remote_code,
        files=(*(name for name in beside if (folder / name).is_file()), *code, *(p.name for p in weights.paths)),
        own_index=weights.own_index,
    )


def with_digest(checkpoint: Checkpoint, folder: Path) -> Checkpoint:
    """Return a checkpoint with its digest, for which every byte of its files is read.

    Raises
    ------
    CheckpointError: naming a file that cannot be read.
    """
    digest = hashlib.sha256()
    try:
        for name in checkpoint.files:
            if name.endswith(".safetensors"):
                continue
            digest.update(name.encode())
            _add(digest, folder / name, 0, None)
        for name, tensor in sorted(tensors_of(checkpoint, folder).items()):
            digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
            _add(digest, tensor.path, tensor.begin, tensor.end)
    except OSError as error:
        raise CheckpointError(f"{checkpoint.source}: {error.filename}: cannot be read: {error.strerror}") from None
    return msgspec.structs.replace(checkpoint, digest=digest.hexdigest()[:16])


def tensors_of(checkpoint: Checkpoint, folder: Path) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint's safetensors files by name; none for pickle files.

    Raises
    ------
    CheckpointError: for a file that has changed since the inspection and is incomplete.
    """
    from harness.zoo.checkpoint.weight_files import WeightFiles

    names = [name for name in checkpoint.files if name.endswith(".safetensors")]
    return read_headers(checkpoint.source, WeightFiles(tuple(folder / name for name in names))) if names else {}


def _add(digest: hashlib._Hash, path: Path, begin: int, end: int | None) -> None:
    """Add a file's bytes from one offset to another to a digest."""
    with path.open("rb") as stream:
        stream.seek(begin)
        left = _CHUNK_BYTES if end is None else end - begin
        while left and (chunk := stream.read(min(left, _CHUNK_BYTES))):
            digest.update(chunk)
            left -= 0 if end is None else len(chunk)


def _check_tokenizer(source: str, folder: Path) -> None:
    """Refuse a file of the tokenizer that is of another kind by its first bytes, or is said to be JSON and is not."""
    for name in (*TOKENIZERS, *BESIDE_TOKENIZERS):
        path = folder / name
        if path.is_symlink() and not path.exists():
            raise CheckpointError(f"{source}: {name} is a link whose target is missing: download the checkpoint again")
        if not path.is_file():
            continue
        try:
            with path.open("rb") as stream:
                start = stream.read(512)
        except OSError as error:
            raise CheckpointError(f"{source}: {name}: cannot be read: {error.strerror}") from None
        if (name.endswith(".json") or start.startswith(LFS)) and (kind := told(start)):
            raise CheckpointError(f"{source}: {name}: {kind}")
        if name.endswith(".json"):
            read_object(path, TOKENIZER_LIMIT_BYTES)


def _dtypes(tensors: Mapping[str, Tensor]) -> str:
    """Return the names of the weights' element types, the most frequent first."""
    found = Counter(tensor.dtype for tensor in tensors.values())
    return ", ".join(DTYPES.get(name, name.lower()) for name, _ in found.most_common())
