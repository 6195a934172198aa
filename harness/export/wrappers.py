"""Wrap transformers models in modules with one input and one output tensor, which a frontend can trace.

Masks and positions, which a model would derive from its input's shape, are constants of the wrapper, built for
one sequence length.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch

from harness.export import masks


class CausalModel(torch.nn.Module):
    """A decoder-only language model: input_ids (1, S), integer -> logits (1, S, vocabulary), float32.

    Parameters
    ----------
    network: a transformers model whose output has ``logits``.
    sequence_length: S; the model's own shapes refuse inputs of any other length.
    """

    def __init__(self, network: Any, sequence_length: int) -> None:
        super().__init__()
        self.network = network
        self._accepts = frozenset(inspect.signature(network.forward).parameters)
        positions = torch.arange(sequence_length)
        found = masks.attention_masks(network.config, positions, positions)
        self._by_type = isinstance(found, dict)
        self._mask_names: dict[str, str] = {}
        for kind, mask in (found if isinstance(found, dict) else {"": found}).items():
            self._mask_names[kind] = f"mask_{kind}"
            self.register_buffer(f"mask_{kind}", mask, persistent=False)
        self.register_buffer("position_ids", positions[None], persistent=False)

    def _attention_mask(self) -> Any:
        by_type = {kind: getattr(self, name) for kind, name in self._mask_names.items()}
        return by_type if self._by_type else by_type[""]

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


class FlexibleModel(torch.nn.Module):
    """A decoder-only language model of any length up to N: input_ids (1, S) -> logits (1, S, vocabulary), float32.

    Parameters
    ----------
    network: a transformers model whose output has ``logits``.
    longest: N.
    """

    def __init__(self, network: Any, longest: int) -> None:
        super().__init__()
        self.network = network
        self._accepts = frozenset(inspect.signature(network.forward).parameters)
        self.positions: torch.Tensor
        self.register_buffer("positions", torch.arange(longest, dtype=torch.int32), persistent=False)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Return the logits, shape (1, S, vocabulary)."""
        positions = self.positions[: input_ids.shape[1]]
        offered = {
            "attention_mask": masks.attention_masks(self.network.config, positions, positions),
            "position_ids": positions[None],
            "use_cache": False,
        }
        arguments = {name: value for name, value in offered.items() if name in self._accepts}
        logits: torch.Tensor = self.network(input_ids=input_ids, **arguments).logits
        return logits


class Encoder(torch.nn.Module):
    """An encoder: input_ids (1, S), integer -> its last hidden state (1, S, hidden), float32.

    Parameters
    ----------
    network: a transformers model whose output has ``last_hidden_state``.
    sequence_length: S; every position sees every other.
    """

    def __init__(self, network: Any, sequence_length: int) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mask", torch.zeros(1, 1, sequence_length, sequence_length), persistent=False)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Return the last hidden state, shape (1, S, hidden)."""
        hidden: torch.Tensor = self.network(input_ids=input_ids, attention_mask=self.mask).last_hidden_state
        return hidden


class Decoder(torch.nn.Module):
    """The decoder of an encoder-decoder model: input_ids (1, S), integer -> logits (1, S, vocabulary), float32.

    The encoder's output is a seeded constant, so that only the decoder runs.

    Parameters
    ----------
    network: a transformers model for conditional generation.
    sequence_length: S, the length of the decoder's input and of the encoder's output.
    """

    def __init__(self, network: Any, sequence_length: int) -> None:
        super().__init__()
        self.network = network
        shape = (1, sequence_length, network.config.hidden_size)
        encoded = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        self.register_buffer("encoded", encoded, persistent=False)
        positions = torch.arange(sequence_length)
        self.register_buffer("mask", masks.additive(masks.causal(positions, positions)), persistent=False)
        cross_mask = torch.zeros(1, 1, sequence_length, sequence_length)
        self.register_buffer("cross_mask", cross_mask, persistent=False)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Return the logits, shape (1, S, vocabulary)."""
        logits: torch.Tensor = self.network(
            encoder_outputs=(self.encoded,),
            attention_mask=self.cross_mask,
            decoder_input_ids=input_ids,
            decoder_attention_mask=self.mask,
            use_cache=False,
        ).logits
        return logits


WRAPPERS = {"causal": CausalModel, "encoder": Encoder, "decoder": Decoder}
"""Wrapper classes by the name a zoo file gives them."""
