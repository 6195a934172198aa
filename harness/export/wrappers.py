"""Modules of one tensor in, one tensor out, around transformers models: what a frontend can trace.

Everything a model would derive from its input's shape (masks, positions) is a constant of the wrapper, built
for one sequence length.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch

from harness.export.masks import attention_masks


class CausalModel(torch.nn.Module):
    """A decoder-only language model: input_ids (1, S), integer -> logits (1, S, vocabulary), float32.

    Parameters
    ----------
    network: a transformers model whose output has ``logits``.
    sequence_length: S; inputs of another length are refused by the model's own shapes.
    """

    def __init__(self, network: Any, sequence_length: int) -> None:
        super().__init__()
        self.network = network
        self._accepts = frozenset(inspect.signature(network.forward).parameters)
        masks = attention_masks(network.config, sequence_length)
        self._by_type = isinstance(masks, dict)
        self._mask_names: dict[str, str] = {}
        for kind, mask in (masks if isinstance(masks, dict) else {"": masks}).items():
            self._mask_names[kind] = f"mask_{kind}"
            self.register_buffer(f"mask_{kind}", mask, persistent=False)
        self.register_buffer("position_ids", torch.arange(sequence_length)[None], persistent=False)

    def _attention_mask(self) -> Any:
        masks = {kind: getattr(self, name) for kind, name in self._mask_names.items()}
        return masks if self._by_type else masks[""]

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Return the logits, shape (1, S, vocabulary)."""
        offered = {
            "attention_mask": self._attention_mask(),
            "position_ids": self.position_ids,
            "use_cache": False,
        }
        arguments = {name: value for name, value in offered.items() if name in self._accepts}
        logits: torch.Tensor = self.network(input_ids=input_ids, **arguments).logits
        return logits


WRAPPERS = {"causal": CausalModel}
"""Wrapper classes by the name a zoo file gives them."""
