"""Load a checkpoint's network and prompts with transformers, offline: the folder contains every file already."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from harness.errors import ExportError
from harness.export.build import quiet_transformers
from harness.export.configuration import configuration
from harness.export.dequantised import load_gguf
from harness.system.text import plural, squeezed
from harness.zoo.checkpoint import misfits
from harness.zoo.checkpoint.file_names import INDEX
from harness.zoo.checkpoint.quantised import FLOATS
from harness.zoo.checkpoint.saved_folder import tensors_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from harness.zoo.checkpoint import Checkpoint

    Array = np.ndarray[Any, Any]


def load(checkpoint: Checkpoint) -> torch.nn.Module:
    """Return the network with the checkpoint's weights, in eval mode and float32, which represents bfloat16 exactly.

    Raises
    ------
    ExportError: if transformers cannot build it, or weights and network do not fit; see :func:`check_fit`.
    """
    return load_with_marks(checkpoint)[0]


def load_with_marks(checkpoint: Checkpoint) -> tuple[torch.nn.Module, tuple[str, ...]]:
    """Return the network as :func:`load` does, and a mark on weights in the files that the network does not use.

    Raises
    ------
    ExportError: as :func:`load`.
    """
    if checkpoint.gguf_file:
        network, unread = load_gguf(checkpoint)
        return network, _mark(unread)
    with _loadable(checkpoint) as folder:
        network, info = _from_pretrained(
            checkpoint, folder, dtype=torch.float32, use_safetensors=not checkpoint.pickled
        )
    _align(network)
    marks = _unread(checkpoint, network, info)
    # Buffers keep the type they are made in, whatever the weights' type is: RecurrentGemma's are bfloat16.
    return network.float().eval().requires_grad_(requires_grad=False), marks


ALIGNMENT_BYTES = 64


def _align(network: torch.nn.Module) -> None:
    """Copy weights that are unaligned in their mapped file, because kernels sum unaligned data in another order."""
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.data_ptr() % ALIGNMENT_BYTES:
            tensor.data = tensor.data.clone()


def check_fit(checkpoint: Checkpoint) -> None:
    """Check the names and shapes of a checkpoint's weights against its network, without reading any weight.

    Pickle files, and networks defined by code in the checkpoint, are checked when they are loaded.

    Raises
    ------
    ExportError: naming a weight that is missing, unused, or of a different shape, with both shapes.
    """
    tensors = tensors_of(checkpoint, Path(checkpoint.folder))
    if not tensors or checkpoint.trust_remote_code:
        return
    empty = {name: _empty(tensor.shape) for name, tensor in tensors.items()}
    place = {"device_map": "meta"} if ON_META else {}
    network, info = _from_pretrained(checkpoint, None, state_dict=empty, dtype=torch.float32, **place)
    _unread(checkpoint, network, info)
    for name, _ in network.named_parameters():
        if name in tensors and tensors[name].dtype not in FLOATS:
            kind = f"{tensors[name].dtype} {list(tensors[name].shape)}"
            raise ExportError(f"{checkpoint.source}: {name} is {kind} in the file: expected float weights")


ON_META = importlib.util.find_spec("accelerate") is not None
"""Whether transformers can place a network on the device ``meta``, which has no data."""


def _empty(shape: tuple[int, ...]) -> torch.Tensor:
    """Return a tensor of a shape that takes almost no memory."""
    return torch.empty(shape, device="meta") if ON_META else torch.zeros(()).expand(shape)


def _from_pretrained(
    checkpoint: Checkpoint, folder: Path | None, **options: Any
) -> tuple[torch.nn.Module, dict[str, Any]]:
    """Return the network and transformers' loading information about its weights."""
    from transformers import AutoModelForCausalLM

    config = configuration(checkpoint)
    maker = AutoModelForCausalLM if folder is not None else _class_of(checkpoint, config)
    with quiet_transformers():
        try:
            network, info = maker.from_pretrained(
                folder,
                config=config,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                local_files_only=True,
                **({"trust_remote_code": True} if checkpoint.trust_remote_code else {}),
                **options,
            )
        except Exception as error:  # transformers, torch and safetensors raise errors of many kinds
            reason = squeezed(error)[:300]
            raise ExportError(f"{checkpoint.source}: cannot be loaded: {type(error).__name__}: {reason}") from error
    _check_info(checkpoint, info)
    if not hasattr(network.config, "vocab_size"):
        raise ExportError(f"{checkpoint.source}: {type(network).__name__} is no language model of text alone")
    return network, info


def _class_of(checkpoint: Checkpoint, config: Any) -> Any:
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

    found = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    many = found if isinstance(found, tuple) else (found,)
    return next((one for one in many if one.__name__ == checkpoint.architecture), many[0])


def _check_info(checkpoint: Checkpoint, info: dict[str, Any]) -> None:
    """Refuse weights of a different shape, and missing ones."""
    if mismatched := sorted(info["mismatched_keys"]):
        name, found, wanted = mismatched[0]
        raise ExportError(f"{checkpoint.source}: {misfits.other_shape(name, found, wanted, len(mismatched))}")
    if missing := sorted(info["missing_keys"]):
        instead = min(info["unexpected_keys"], default="")
        raise ExportError(f"{checkpoint.source}: {misfits.lacking(missing, instead)}")
    if errors := info.get("error_msgs"):
        raise ExportError(f"{checkpoint.source}: cannot be loaded: {squeezed(errors[0])[:300]}")


def _unread(checkpoint: Checkpoint, network: torch.nn.Module, info: dict[str, Any]) -> tuple[str, ...]:
    """Return a mark on unused weights; refuse those that belong to a part of the network."""
    unread = sorted(info["unexpected_keys"])
    parts = {name for name, _ in network.named_children()}
    if own := [name for name in unread if name.partition(".")[0] in parts]:
        raise ExportError(f"{checkpoint.source}: {misfits.unread(own)}")
    return _mark(unread)


def _mark(unread: Sequence[str]) -> tuple[str, ...]:
    """Return a mark on unused weights, given their names."""
    return (f"{plural(len(unread), 'weight')} that the model does not read, among them {unread[0]}",) if unread else ()


@contextlib.contextmanager
def _loadable(checkpoint: Checkpoint) -> Iterator[Path]:
    """Yield a folder that transformers can load the checkpoint from: its own, or one of links with an index.

    In the latter the weights have names that transformers does not look for, so that it reads the index.
    """
    folder = Path(checkpoint.folder)
    if not checkpoint.own_index:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="ane-harness-") as place:
        for path in folder.iterdir():
            if path.is_file() and path.suffix != ".safetensors" and path.name != INDEX:
                Path(place, path.name).symlink_to(path.resolve())
        names = {name: f"own-{tensor.path.name}" for name, tensor in tensors_of(checkpoint, folder).items()}
        for shard in set(names.values()):
            Path(place, shard).symlink_to((folder / shard.removeprefix("own-")).resolve())
        Path(place, INDEX).write_text(json.dumps({"metadata": {}, "weight_map": names}), encoding="utf-8")
        yield Path(place)


def _tokenizer(checkpoint: Checkpoint) -> Any:
    return _read_tokenizer(
        checkpoint.folder, checkpoint.gguf_file, checkpoint.digest, trust_remote_code=checkpoint.trust_remote_code
    )


@lru_cache(maxsize=1)
def _read_tokenizer(folder: str, gguf_file: str, _digest: str, *, trust_remote_code: bool) -> Any:
    """Return a tokenizer; the last one is kept, since reading that of a GGUF file takes seconds."""
    from transformers import AutoTokenizer

    named = {"gguf_file": gguf_file} if gguf_file else {}
    return AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code, local_files_only=True, **named)


def words(checkpoint: Checkpoint, ids: Sequence[Array]) -> list[str]:
    """Return the texts of token ids, (n,) each, decoded by the checkpoint's tokenizer."""
    with quiet_transformers():
        tokenizer = _tokenizer(checkpoint)
        return [str(tokenizer.decode(one.tolist(), skip_special_tokens=True)) for one in ids]


def tokenize(checkpoint: Checkpoint, prompts: Sequence[str], vocabulary: int) -> tuple[Array, ...]:
    """Return the token ids of prompts, int32, each (1, n).

    Raises
    ------
    ExportError: for a tokenizer that cannot be loaded or does not fit the model.
    """
    with quiet_transformers():
        try:
            tokenizer = _tokenizer(checkpoint)
            ids = [tokenizer(prompt)["input_ids"] for prompt in prompts]
        except Exception as error:  # as above
            reason = squeezed(error)[:300]
            if "trust_remote_code" in reason:
                reason = "it brings code of its own, which runs only with --trust-remote-code"
            raise ExportError(f"{checkpoint.source}: tokenizer: {type(error).__name__}: {reason}") from error
    for prompt, found in zip(prompts, ids, strict=True):
        if not found:
            raise ExportError(f"{checkpoint.source}: tokenizer: makes no token of {prompt[:40]!r}")
        if max(found) >= vocabulary:
            raise ExportError(
                f"{checkpoint.source}: tokenizer: token {max(found)} of {prompt[:40]!r}, "
                f"but the model's vocabulary has {vocabulary}: it is another model's"
            )
    return tuple(np.array([found], np.int32) for found in ids)
