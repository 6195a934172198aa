"""Load the network of a GGUF file: transformers reads and dequantises its weights."""

from __future__ import annotations

import contextlib
import io
import re
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from harness.errors import ExportError
from harness.export.build import quiet_transformers
from harness.system.text import plural, squeezed
from harness.zoo.catalog import IMPLEMENTATIONS
from harness.zoo.checkpoint.gguf_header import read_header

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from harness.zoo.checkpoint import Checkpoint

_TAKEN_APART = re.compile(r"blk\.\d+\.ffn_\w+_(exps|projs)\.|output\.weight$")
"""Tensors that transformers reads under names of its own: experts, and the output of some models."""


def gguf_configuration(checkpoint: Checkpoint) -> Any:
    """Return the transformers configuration that a GGUF file's keys describe.

    Raises
    ------
    ExportError: if transformers cannot read it.
    """
    from transformers import AutoConfig

    known = {"use_cache": False, "vocab_size": checkpoint.fields["vocab_size"]}
    header = read_header(Path(checkpoint.folder, checkpoint.gguf_file))
    with one_line_errors(checkpoint), tempfile.TemporaryDirectory(prefix="ane-harness-") as folder:
        header.write_short(Path(folder, checkpoint.gguf_file))
        return AutoConfig.from_pretrained(folder, **IMPLEMENTATIONS, **known, **_options(checkpoint))


def _options(checkpoint: Checkpoint) -> dict[str, Any]:
    return {"gguf_file": checkpoint.gguf_file, "local_files_only": True}


@contextlib.contextmanager
def one_line_errors(checkpoint: Checkpoint) -> Iterator[None]:
    """Turn any exception into an ExportError that names the file; print nothing, such as a progress bar a tensor."""
    with quiet_transformers(), contextlib.redirect_stderr(io.StringIO()), _one_map_of_names():
        try:
            yield
        except Exception as error:  # transformers, torch and gguf raise errors of many kinds
            reason = squeezed(error)[:300]
            raise ExportError(f"{checkpoint.source}: cannot be loaded: {type(error).__name__}: {reason}") from error


@contextlib.contextmanager
def _one_map_of_names() -> Iterator[None]:
    """Have gguf make its map of tensor names once: transformers asks for the same one for each module of a network."""
    import gguf

    original = gguf.get_tensor_name_map
    gguf.get_tensor_name_map = cache(original)
    try:
        yield
    finally:
        gguf.get_tensor_name_map = original


def load_gguf(checkpoint: Checkpoint) -> tuple[torch.nn.Module, list[str]]:
    """Return the network of a GGUF file with float32 weights, in eval mode, and the tensors that it does not use.

    transformers leaves the network marked as quantised, so ``.float()`` and ``save_pretrained`` refuse it although its
    weights are plain float32. This function removes those marks.

    Raises
    ------
    ExportError: if transformers cannot read it, a weight is missing, or a module lacks a place for its bias.
    """
    from transformers import AutoModelForCausalLM

    config = gguf_configuration(checkpoint)
    with one_line_errors(checkpoint):
        network, info = AutoModelForCausalLM.from_pretrained(
            checkpoint.folder, config=config, dtype=torch.float32, output_loading_info=True, **_options(checkpoint)
        )
    if missing := sorted(info["missing_keys"]):
        raise ExportError(
            f"{checkpoint.source}: lacks {plural(len(missing), 'weight')} of the model, among them {missing[0]}"
        )
    with one_line_errors(checkpoint):
        names = tensor_names(checkpoint, network)
    unread = unread_tensors(checkpoint, names)
    for holder, name in (
        (network, "hf_quantizer"),
        (network, "quantization_method"),
        (network.config, "quantization_config"),
    ):
        if hasattr(holder, name):
            delattr(holder, name)
    network.is_quantized = False
    result: torch.nn.Module = network.float().eval().requires_grad_(requires_grad=False)
    return result, unread


def tensor_names(checkpoint: Checkpoint, network: Any) -> dict[str, str]:
    """Return the network's weights by the names of the tensors that transformers reads them from."""
    from transformers.modeling_gguf_pytorch_utils import TENSOR_PROCESSORS, TensorProcessor, get_gguf_hf_weights_map

    header = read_header(Path(checkpoint.folder, checkpoint.gguf_file))
    processor = TENSOR_PROCESSORS.get(header.keys["general.architecture"], TensorProcessor)
    names: dict[str, str] = get_gguf_hf_weights_map(network, processor(config=network.config))
    return names


def unread_tensors(checkpoint: Checkpoint, names: Mapping[str, str]) -> list[str]:
    """Return the tensors that transformers skips without a word, since its names lack them: ``rope_freqs.weight``.

    Raises
    ------
    ExportError: for a tensor of a module of which another tensor is read, such as a bias.
    """
    header = read_header(Path(checkpoint.folder, checkpoint.gguf_file))
    unread = sorted(one.name for one in header.tensors if one.name not in names and not _TAKEN_APART.match(one.name))
    modules = {name.rpartition(".")[0] for name in names}
    if own := [name for name in unread if name.rpartition(".")[0] in modules]:
        raise ExportError(
            f"{checkpoint.source}: {own[0]} is in the file, but transformers' model has no place for it, so that "
            f"nothing would read it{f' (and {len(own) - 1} more)' if own[1:] else ''}"
        )
    return unread
