"""Attention masks as constants, so that nothing is left of them but one addition in the converted program.

transformers builds its masks from the input's shape with ops that coremltools does not know (``diff``). Its
models take a ready 4-D float mask of shape (1, 1, S, S) as it is, or, where the layers differ in what they
see, a dict of such masks by layer type.
"""

from __future__ import annotations

from typing import Any

import torch

MASKED = -1e4
"""Added to the attention score of a hidden position.

``exp(-1e4)`` is 0 in every float type, as with ``finfo(float32).min``; but that one becomes -inf in a float16
program, and ``-inf - -inf`` is NaN. -1e4 is exact in float16 and leaves scores room to be added to it.
"""

_WINDOW_FIELDS = {"sliding_attention": "sliding_window", "chunked_attention": "attention_chunk_size"}
_OF_HYBRID = ("full_attention", "linear_attention")  # what a hybrid layer asks for
_WITHOUT_MASK = frozenset({"linear_attention", "conv", "mamba", "mamba2"})


def causal(sequence_length: int) -> torch.Tensor:
    """Return which key each query sees, shape (S, S), bool: itself and everything before it."""
    return torch.ones(sequence_length, sequence_length, dtype=torch.bool).tril()


def sliding(sequence_length: int, window: int) -> torch.Tensor:
    """Return which key each query sees, shape (S, S), bool: the last ``window`` positions up to itself."""
    return causal(sequence_length).triu(1 - window)


def chunked(sequence_length: int, chunk: int) -> torch.Tensor:
    """Return which key each query sees, shape (S, S), bool: its own chunk of positions, up to itself."""
    block = torch.arange(sequence_length) // chunk
    return causal(sequence_length) & (block[:, None] == block[None, :])


def additive(visible: torch.Tensor) -> torch.Tensor:
    """Turn a bool (S, S) mask into the float32 (1, 1, S, S) one that is added to attention scores."""
    return torch.where(visible, 0.0, MASKED).to(torch.float32)[None, None]


def _of_type(config: Any, layer_type: str, sequence_length: int) -> torch.Tensor:
    width = getattr(config, _WINDOW_FIELDS.get(layer_type, ""), None)
    if width is None:
        return additive(causal(sequence_length))
    visible = chunked if layer_type == "chunked_attention" else sliding
    return additive(visible(sequence_length, width))


def attention_masks(config: Any, sequence_length: int) -> torch.Tensor | dict[str, torch.Tensor | None] | None:
    """Return the mask a causal model expects, or one by layer type where its layers differ.

    Parameters
    ----------
    config: the transformers configuration; read are ``layer_types``, ``sliding_window`` and
        ``attention_chunk_size``, whichever it has.
    sequence_length: S.

    Returns
    -------
    A float32 tensor of shape (1, 1, S, S), or such tensors by layer type (None for types without attention),
    or None for a model without attention.
    """
    types = getattr(config, "layer_types", None)
    if types is None:
        return _of_type(config, "sliding_attention", sequence_length)
    if set(types) <= _WITHOUT_MASK:
        return None
    if set(types) == {"full_attention"}:
        return _of_type(config, "full_attention", sequence_length)
    kinds = [*types, *(_OF_HYBRID if "hybrid" in types else ())]
    return {
        kind: None if kind in _WITHOUT_MASK else _of_type(config, kind, sequence_length)
        for kind in dict.fromkeys(kinds)
    }
