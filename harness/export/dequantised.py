"""Load the network of a GGUF file: transformers reads and dequantises its weights."""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING, Any

import torch

from harness.errors import ExportError
from harness.export.build import quiet_transformers
from harness.system.text import plural, squeezed
from harness.zoo.catalog import IMPLEMENTATIONS

if TYPE_CHECKING:
    from harness.zoo.checkpoint import Checkpoint


def load_gguf(checkpoint: Checkpoint) -> torch.nn.Module:
    """Return the network of a GGUF file with float32 weights, in eval mode.

    transformers leaves the network marked as quantised, so ``.float()`` and ``save_pretrained`` refuse it although its
    weights are plain float32. This function removes those marks.

    Raises
    ------
    ExportError: if transformers cannot read it, or a weight is missing.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    options: dict[str, Any] = {"gguf_file": checkpoint.gguf_file, "local_files_only": True}
    known = {"use_cache": False, "vocab_size": checkpoint.fields["vocab_size"]}
    with quiet_transformers(), contextlib.redirect_stderr(io.StringIO()):  # one progress bar a tensor
        try:
            config = AutoConfig.from_pretrained(checkpoint.folder, **IMPLEMENTATIONS, **known, **options)
            network, info = AutoModelForCausalLM.from_pretrained(
                checkpoint.folder, config=config, dtype=torch.float32, output_loading_info=True, **options
            )
        except Exception as error:  # transformers, torch and gguf raise errors of many kinds
            reason = squeezed(error)[:300]
            raise ExportError(f"{checkpoint.source}: cannot be loaded: {type(error).__name__}: {reason}") from error
    if missing := sorted(info["missing_keys"]):
        raise ExportError(
            f"{checkpoint.source}: lacks {plural(len(missing), 'weight')} of the model, among them {missing[0]}"
        )
    for holder, name in (
        (network, "hf_quantizer"),
        (network, "quantization_method"),
        (network.config, "quantization_config"),
    ):
        if hasattr(holder, name):
            delattr(holder, name)
    network.is_quantized = False
    result: torch.nn.Module = network.float().eval().requires_grad_(requires_grad=False)
    return result
