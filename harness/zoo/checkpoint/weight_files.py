"""Find the files of a folder that transformers reads as its weights; these are checked, digested and downloaded.

transformers reads the first of these that exists: the file that ``transformers_weights`` in ``config.json`` names,
``model.safetensors``, the shards that ``model.safetensors.index.json`` names. If pickle files are allowed and there is
no safetensors file, it reads ``pytorch_model.bin`` or the shards of its index
(transformers 5.23, ``modeling_utils._get_resolved_checkpoint_files``). Other files in the folder are not read.
A complete set of shards ``model-00001-of-0000N.safetensors`` without an index is read too, because the headers contain
the information of the index.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from harness.errors import CheckpointError
from harness.zoo.checkpoint import headers
from harness.zoo.checkpoint.file_names import ADAPTER, CONFIG, INDEX, PICKLE, PICKLE_INDEX, SHARD, WEIGHTS
from harness.zoo.checkpoint.other_folders import without_weights
from harness.zoo.checkpoint.reading import CONFIG_LIMIT_BYTES, INDEX_LIMIT_BYTES, read_object

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from harness.zoo.checkpoint.headers import Tensor


@dataclass(frozen=True, slots=True)
class WeightFiles:
    """The files that contain a checkpoint's weights."""

    paths: tuple[Path, ...]
    index: Path | None = None
    """The index that names them, if they are shards."""
    pickled: bool = False
    own_index: bool = False
    """Whether transformers needs an index of this project's: theirs is missing, lacks metadata, or has another name."""


def resolve(source: str, folder: Path, config: Mapping[str, Any], *, allow_pickle: bool) -> WeightFiles:
    """Return the weight files that transformers will read.

    Raises
    ------
    CheckpointError: if there are none, one is missing, or a flag is needed; the message names the files found.
    """
    explicit = config.get("transformers_weights")
    if explicit is not None:
        return _explicit(source, folder, explicit)
    if (folder / ADAPTER).is_file():
        raise CheckpointError(
            f"{source}: {ADAPTER}: an adapter, whose weights are added to another model's: merge it into that model"
        )
    for name, index, pickled in ((WEIGHTS, INDEX, False), (PICKLE, PICKLE_INDEX, True)):
        if pickled and not allow_pickle:
            break
        if (folder / name).is_file():
            return WeightFiles((folder / name,), None, pickled)
        if (folder / index).is_file():
            return _sharded(source, folder / index, pickled=pickled)
    if shards := _complete(folder):
        return WeightFiles(shards, own_index=True)
    raise CheckpointError(f"{source}: {without_weights(folder, allow_pickle=allow_pickle)}")


NAMED = re.compile(r"\w[\w.-]{0,200}\.safetensors(\.index\.json)?")
"""Names that a configuration may give the weights: a file, or an index, of the same folder."""


def named_weights(folder: Path) -> str:
    """Return the file or index that a folder's configuration names as its weights; "" if it names none."""
    try:
        name = read_object(folder / CONFIG, CONFIG_LIMIT_BYTES).get("transformers_weights")
    except CheckpointError:  # the inspection says so
        return ""
    return name if isinstance(name, str) and NAMED.fullmatch(name) else ""


def _explicit(source: str, folder: Path, name: object) -> WeightFiles:
    if not isinstance(name, str) or not NAMED.fullmatch(name):
        raise CheckpointError(f"{source}: config.json: transformers_weights: expected a file here, got {name!r}")
    path = folder / name
    if not path.is_file():
        raise CheckpointError(f"{source}: {name} is missing, which config.json names as transformers_weights")
    found = WeightFiles((path,)) if name.endswith(".safetensors") else _sharded(source, path, pickled=False)
    return replace(found, own_index=True)


def _sharded(source: str, index: Path, *, pickled: bool) -> WeightFiles:
    names = shard_names(index, ".bin" if pickled else ".safetensors")
    for name in names:
        path = index.parent / name
        if not path.is_file():
            why = "is a link whose target is missing" if path.is_symlink() else "is missing"
            raise CheckpointError(f"{source}: {name} {why}, which {index.name} names; download the checkpoint again")
    whole = isinstance(read_object(index, INDEX_LIMIT_BYTES).get("metadata"), dict)
    return WeightFiles(
        tuple(index.parent / name for name in names), index, pickled, own_index=not whole and not pickled
    )


def _complete(folder: Path) -> tuple[Path, ...]:
    """Return the shards of a folder without an index if the set is complete, else none."""
    matches = [match for path in folder.iterdir() if (match := SHARD.fullmatch(path.name))]
    found = {int(match[2]): match for match in matches if match[1] == "model" and match[4] == ".safetensors"}
    totals = {int(match[3]) for match in found.values()}
    if len(totals) != 1 or sorted(found) != list(range(1, totals.pop() + 1)):
        return ()
    paths = tuple(folder / found[number][0] for number in sorted(found))
    return paths if all(path.is_file() for path in paths) else ()


def shard_names(index: Path, suffix: str = ".safetensors") -> list[str]:
    """Return the names of the shards in an index.

    Raises
    ------
    CheckpointError: for a file that is not an index, or an index that names a file of another kind or folder.
    """
    names = [name for _, name in _weight_map(index)]
    for name in names:
        if not isinstance(name, str) or not re.fullmatch(r"\w[\w.-]{0,200}" + re.escape(suffix), name):
            raise CheckpointError(f"{index}: expected a {suffix} file of the same folder, got {name!r}")
    return list(dict.fromkeys(names))


def _weight_map(index: Path) -> list[tuple[str, Any]]:
    weights = read_object(index, INDEX_LIMIT_BYTES).get("weight_map")
    if not isinstance(weights, dict) or not weights:
        raise CheckpointError(f"{index}: weight_map: expected tensors and their files, got {type(weights).__name__}")
    return list(weights.items())


def read_headers(source: str, files: WeightFiles) -> dict[str, Tensor]:
    """Return the tensors of safetensors files by name, after checking that each file is complete and fits the index.

    Raises
    ------
    CheckpointError: naming the file and the tensor.
    """
    found: dict[str, Tensor] = {}
    of_file: dict[str, set[str]] = {}
    for path in files.paths:
        tensors = headers.read(source, path)
        if path.with_name(f"{path.name}.aria2").exists():
            raise CheckpointError(f"{source}: {path.name}: its download was interrupted (it has an .aria2 beside it)")
        if twice := sorted(found.keys() & tensors.keys()):
            raise CheckpointError(f"{source}: {path.name}: holds {twice[0]!r}, which another shard holds too")
        found |= tensors
        of_file[path.name] = set(tensors)
    if files.index is not None:
        for name, file in _weight_map(files.index):
            if name not in of_file[file]:
                raise CheckpointError(f"{source}: {file} lacks {name!r}, which {files.index.name} says it holds")
    if not found:
        raise CheckpointError(f"{source}: {files.paths[0].name}: holds no tensor")
    return found
