"""Check the tensors of a GGUF file against the network that its keys describe, without reading any weight."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from harness.errors import ExportError
from harness.export.dequantised import gguf_configuration, one_line_errors, tensor_names, unread_tensors
from harness.system.text import plural
from harness.zoo.checkpoint.gguf_header import read_header

if TYPE_CHECKING:
    from harness.zoo.checkpoint import Checkpoint


def check_gguf_fit(checkpoint: Checkpoint) -> None:
    """Check that the file holds each weight of the network, with as many elements; transformers maps the names.

    Weights that transformers joins from several tensors, such as those of experts, are checked when they are loaded.

    Raises
    ------
    ExportError: in one line, naming the tensor that is missing, of another size, or read by nothing.
    """
    from transformers import AutoModelForCausalLM

    header = read_header(Path(checkpoint.folder, checkpoint.gguf_file))
    config = gguf_configuration(checkpoint)
    with one_line_errors(checkpoint), torch.device("meta"):
        network: Any = AutoModelForCausalLM.from_config(config)
        names = tensor_names(checkpoint, network)
    held = {tensor.name: prod(tensor.dimensions) for tensor in header.tensors}
    tied = {"lm_head.weight"} if config.tie_word_embeddings else set()
    sources: dict[str, list[str]] = {}
    for tensor, weight in names.items():
        sources.setdefault(weight, []).append(tensor)
    wanted = {weight: value.numel() for weight, value in network.state_dict().items() if weight not in tied}
    single = {weight: sources[weight][0] for weight in wanted if len(sources.get(weight, ())) == 1}
    if missing := [tensor for tensor in single.values() if tensor not in held]:
        raise ExportError(
            f"{checkpoint.source}: not a whole GGUF file: lacks {plural(len(missing), 'tensor')} of the model, among "
            f"them {missing[0]}"
        )
    for weight, tensor in single.items():
        if held[tensor] != wanted[weight]:
            raise ExportError(
                f"{checkpoint.source}: not a whole GGUF file: {tensor} has {held[tensor]:,} elements, its keys say "
                f"{wanted[weight]:,}"
            )
    unread_tensors(checkpoint, names)
