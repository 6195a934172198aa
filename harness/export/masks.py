"""Build attention masks from positions, so that a program of fixed length contains them as one addition only.

transformers builds its masks from the input's shape with ops that coremltools does not know (``diff``). Its
models accept a finished 4-D float mask of shape (1, 1, Q, K), or, where layers see different positions, a dict
of such masks by layer type.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import torch

MASKED = -1e4
"""Added to the attention score of a hidden position.

``exp(-1e4)`` is 0 in every float type, as is ``exp(finfo(float32).min)``; but ``finfo(float32).min`` becomes -inf
in a float16 program, and ``-inf - -inf`` is NaN. -1e4 is exact in float16, and scores can be added to it.
"""

_WINDOW_FIELDS = {"sliding_attention": "sliding_window", "chunked_attention": "attention_chunk_size"}
_OF_HYBRID = ("full_attention", "linear_attention")  # the masks that hybrid layers use
WITHOUT_MASK = frozenset({"linear_attention", "conv", "mamba", "mamba2"})


def causal(queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """Return which key each query sees, shape (Q, K), bool: its own position and all earlier ones."""
    return keys[None, :] <= queries[:, None]


def sliding(queries: torch.Tensor, keys: torch.Tensor, window: int) -> torch.Tensor:
    """Return which key each query sees, shape (Q, K), bool: the last ``window`` positions up to itself."""
    return torch.logical_and(causal(queries, keys), keys[None, :] > queries[:, None] - window)


def chunked(queries: torch.Tensor, keys: torch.Tensor, chunk: int) -> torch.Tensor:
    """Return which key each query sees, shape (Q, K), bool: its own chunk of positions, up to itself."""
    first = queries - queries % chunk
    return torch.logical_and(causal(queries, keys), keys[None, :] >= first[:, None])


def additive(visible: torch.Tensor) -> torch.Tensor:
    """Turn a bool (Q, K) mask into the float32 (1, 1, Q, K) one that is added to attention scores."""
    return torch.where(visible, 0.0, MASKED).to(torch.float32)[None, None]


def _of_type(config: Any, layer_type: str, queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    width = getattr(config, _WINDOW_FIELDS.get(layer_type, ""), None)
    if width is None:
        return additive(causal(queries, keys))
    visible = chunked if layer_type == "chunked_attention" else sliding
    return additive(visible(queries, keys, width))


Masks: TypeAlias = "torch.Tensor | dict[str, torch.Tensor | None] | None"


def attention_masks(config: Any, queries: torch.Tensor, keys: torch.Tensor) -> Masks:
    """Return the mask a causal model expects, or one by layer type where its layers differ.

    Parameters
    ----------
    config: the transformers configuration. Its fields ``layer_types``, ``sliding_window`` and
    ``attention_chunk_size`` are read where it has them.
    queries, keys: positions in the sequence of the attending tokens and of the attended ones, shapes (Q,) and
    (K,), integer. Constant positions give constant masks, computed positions give computed masks.

    Returns
    -------
    A float32 tensor of shape (1, 1, Q, K), or such tensors by layer type (None for types without attention),
    or None for a model without attention.
    """
    types = getattr(config, "layer_types", None)
    if types is None:
        return _of_type(config, "sliding_attention", queries, keys)
    if set(types) <= WITHOUT_MASK:
        return None
    if set(types) == {"full_attention"}:
        return _of_type(config, "full_attention", queries, keys)
    kinds = [*types, *(_OF_HYBRID if "hybrid" in types else ())]
    return {
        kind: None if kind in WITHOUT_MASK else _of_type(config, kind, queries, keys) for kind in dict.fromkeys(kinds)
    }
