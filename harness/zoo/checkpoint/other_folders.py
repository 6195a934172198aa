"""Say of a folder without a configuration or without weights what it is instead, and the mend."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.zoo.checkpoint.file_names import (
    CONFIG,
    INDEX,
    PICKLE,
    PICKLE_INDEX,
    PICKLED,
    SHARD,
    WEIGHTS,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

NOTHING = f"no {WEIGHTS} and no {INDEX}"
LIBRARIES = {
    "model_index.json": "a diffusers pipeline, not a language model",
    "modules.json": "a sentence-transformers model, which is no causal language model",
}
"""Folders of other libraries, by a file at their top."""
FORMS = (
    (".distcp", "a distributed checkpoint"),
    ("zero_to_fp32.py", "a DeepSpeed checkpoint, whose parts it joins"),
    (".h5", "weights of TensorFlow"),
    (".msgpack", "weights of Flax"),
    (".ot", "weights of Rust"),
    (".onnx", "an ONNX model"),
    (".npz", "weights of NumPy"),
)
"""Forms of weights that are not read, by the end of a file's name."""


def without_weights(folder: Path, *, allow_pickle: bool) -> str:
    """Return a sentence on files in a folder that transformers would not read as weights, and the mend."""
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    links = [name for name in (WEIGHTS, INDEX) if (folder / name).is_symlink()]
    if links:
        return f"{links[0]} is a link whose target is missing: download the checkpoint again"
    return (
        _unread(names)
        or _pickled(folder, allow_pickle=allow_pickle)
        or _elsewhere(folder, names, allow_pickle=allow_pickle)
    )


def _unread(names: Sequence[str]) -> str:
    """Return a sentence on safetensors and GGUF files whose names are not read; "" if there are none."""
    safe = [name for name in names if name.endswith(".safetensors")]
    shards = [match for name in safe if (match := SHARD.fullmatch(name))]
    if shards:
        first = shards[0]
        have = f"{len(shards)} of {int(first[3])} shards ({first[0]})"
        return f"{have} and no {INDEX}: an interrupted download; fetch the rest, or save the model again"
    if safe and safe[0].startswith("adapter"):
        return f"{safe[0]}: an adapter, whose weights are added to another model's: merge it into that model"
    if safe:
        return f"{NOTHING}; {safe[0]} is not read: rename it to {WEIGHTS} if these are the weights"
    gguf = _like(names, (".gguf",))
    return f"holds {gguf}, a GGUF file, and no {WEIGHTS}: name that file itself as the checkpoint" if gguf else ""


def _pickled(folder: Path, *, allow_pickle: bool) -> str:
    """Return a sentence on a folder's pickle files; "" if there are none."""
    pickled = sorted(path.name for pattern in PICKLED for path in folder.glob(pattern))
    if pickled and not allow_pickle:
        return (
            f"holds pickle files alone ({pickled[0]}), which can run code when read: "
            "save it as safetensors, or allow it with --allow-pickle"
        )
    if pickled:
        return f"no {PICKLE} and no {PICKLE_INDEX}; {pickled[0]} is not read: rename it if these are the weights"
    return ""


def _elsewhere(folder: Path, names: Sequence[str], *, allow_pickle: bool) -> str:
    """Return a sentence on weights of other forms, in folders inside, or half downloaded."""
    for end, what in FORMS:
        if found := _like(names, (end,)):
            return f"{NOTHING}; {found}: {what}: save the model as safetensors"
    if inside := sorted(folder.glob(f"*/{WEIGHTS}")):
        return f"{NOTHING}, but {inside[0].relative_to(folder)}: move it beside {CONFIG}"
    if unfinished := _like(names, (".incomplete", ".part", ".crdownload", ".aria2", ".tmp")):
        return f"{NOTHING}; {unfinished} is an unfinished download: fetch it again"
    return NOTHING + ("" if allow_pickle else "; pickle files are looked for only with --allow-pickle")


def without_config(folder: Path) -> str:
    """Return a sentence on what a folder without ``config.json`` is, and the mend."""
    names = {path.name for path in folder.iterdir()}
    if {"snapshots", "blobs"} <= names:
        return f"a repository in the hub's cache: give its id, or a folder below {folder / 'snapshots'}"
    if "adapter_config.json" in names:
        return "adapter_config.json: an adapter, whose weights are added to another model's: merge it into that model"
    if found := _like(names, (".gguf",)):
        return f"no config.json in {folder}, but {found}, a GGUF file: name that file itself as the checkpoint"
    if "params.json" in names:
        return f"no config.json in {folder}, but params.json, the model's original form: convert it to transformers'"
    for name, what in LIBRARIES.items():
        if name in names:
            return f"{what} ({name}): expected a folder as save_pretrained writes it"
    if inner := _with_config(folder):
        return f"no config.json in {folder}, but in {inner}: give that folder"
    if "Manifest.json" in names:
        return "a Core ML package, not a checkpoint: expected a folder as save_pretrained writes it"
    if (folder / CONFIG).is_symlink():
        return "config.json is a link whose target is missing: download the checkpoint again"
    return f"no config.json in {folder}: expected a folder as save_pretrained writes it"


def _with_config(folder: Path) -> str:
    """Return the newest or last folder inside that has a configuration, as a trainer's checkpoints have; "" if none."""
    found = sorted(path.parent for path in folder.glob(f"*/{CONFIG}"))
    return str(max(found, key=lambda path: (len(path.name), path.name))) if found else ""


def _like(names: Iterable[str], suffixes: tuple[str, ...]) -> str:
    return min((name for name in names if name.endswith(suffixes)), default="")
