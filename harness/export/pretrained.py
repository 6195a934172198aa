"""A checkpoint's network and prompts, through transformers, offline: everything is in the folder already."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from harness.errors import ExportError
from harness.export.build import quiet_transformers
from harness.export.dequantised import load_gguf
from harness.system.text import squeezed
from harness.zoo.catalog import IMPLEMENTATIONS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.zoo.checkpoint import Checkpoint

    Array = np.ndarray[Any, Any]


def load(checkpoint: Checkpoint) -> torch.nn.Module:
    """Return the network with the checkpoint's weights, in eval mode and float32, which holds every bfloat16 exactly.

    Raises
    ------
    ExportError: if transformers cannot build it, or a weight is missing.
    """
    if checkpoint.gguf_file:
        return load_gguf(checkpoint)
    from transformers import AutoConfig, AutoModelForCausalLM

    options = {"trust_remote_code": checkpoint.trust_remote_code, "local_files_only": True}
    with quiet_transformers():
        try:
            config = AutoConfig.from_pretrained(checkpoint.folder, **IMPLEMENTATIONS, use_cache=False, **options)
            network, info = AutoModelForCausalLM.from_pretrained(
                checkpoint.folder,
                config=config,
                dtype=torch.float32,
                use_safetensors=not checkpoint.pickled,
                output_loading_info=True,
                **options,
            )
        except Exception as error:  # transformers, torch and safetensors raise errors of many kinds
            reason = squeezed(error)[:300]
            raise ExportError(f"{checkpoint.source}: cannot be loaded: {type(error).__name__}: {reason}") from error
    if missing := sorted(info["missing_keys"]):
        raise ExportError(f"{checkpoint.source}: lacks {len(missing)} weights of the model, among them {missing[0]}")
    if not hasattr(network.config, "vocab_size"):
        raise ExportError(f"{checkpoint.source}: {type(network).__name__} is no language model of text alone")
    result: torch.nn.Module = network.eval().requires_grad_(requires_grad=False)
    return result


def tokenize(checkpoint: Checkpoint, prompts: Sequence[str], vocabulary: int) -> tuple[Array, ...]:
    """Return the token ids of prompts, int32, each (1, n).

    Raises
    ------
    ExportError: for a tokenizer that cannot be loaded, or one that does not fit the model.
    """
    from transformers import AutoTokenizer

    with quiet_transformers():
        try:
            tokenizer = AutoTokenizer.from_pretrained(
                checkpoint.folder,
                trust_remote_code=checkpoint.trust_remote_code,
                local_files_only=True,
                **({"gguf_file": checkpoint.gguf_file} if checkpoint.gguf_file else {}),
            )
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
