"""Wrap a causal model so that it keeps keys and values in buffers, which conversion turns into Core ML states.

One call takes T tokens that follow ``position`` others. It writes their keys and values into the buffers, at
``[position, position + T)``, and attends to everything written so far. With T = 1 it decodes; with a larger T it
fills the same buffers in one call, and decoding continues from there.

The buffers are float32, as the model computes; the states are declared float16, and coremltools casts between them.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import Cache

from harness.errors import UnsuitedShapeError
from harness.export import masks


@dataclass(frozen=True, slots=True)
class CacheShape:
    """The keys and values that one attention layer keeps for one position."""

    layer: int
    """Layer index by which the layer updates the cache."""
    keys: tuple[int, int]
    """Number of heads, and width of a key."""
    values: tuple[int, int]
    """Number of heads, and width of a value."""

    def states(self, length: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the layer's two buffers for ``length`` positions, by name."""
        sides = {"keys": self.keys, "values": self.values}
        return {f"{side}_{self.layer}": (1, heads, length, width) for side, (heads, width) in sides.items()}


class _Stateless(Cache):
    """The base of the caches here, none of which has transformers' cache layers."""

    def __init__(self) -> None:
        super().__init__(layers=[])

    def get_seq_length(self, *_: Any, **__: Any) -> int:
        """Return 0: positions and masks are given explicitly, so none is derived from the cache."""
        return 0


class _Recorder(_Stateless):
    """Records the shapes that each layer would keep."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[CacheShape] = []

    def update(self, key_states: Any, value_states: Any, layer_idx: int, *_: Any, **__: Any) -> tuple[Any, Any]:
        """Record the shapes (1, heads, T, width), and return the keys and values unchanged."""
        sides = [(int(states.shape[1]), int(states.shape[3])) for states in (key_states, value_states)]
        self.found.append(CacheShape(layer_idx, sides[0], sides[1]))
        return key_states, value_states


class _BufferCache(_Stateless):
    """Writes into a module's buffers in place, and returns the whole buffers."""

    def __init__(self, owner: StatefulModel, begin: torch.Tensor, write: Any) -> None:
        super().__init__()
        self._owner, self._begin, self._write = owner, begin, write

    def update(self, key_states: Any, value_states: Any, layer_idx: int, *_: Any, **__: Any) -> tuple[Any, Any]:
        """Write (1, heads, T, width) at the positions from ``begin`` on; return (1, heads, N, width)."""
        kept = [getattr(self._owner, f"{side}_{layer_idx}") for side in ("keys", "values")]
        for buffer, states in zip(kept, (key_states, value_states), strict=True):
            self._write(buffer, self._begin, states)
        return kept[0], kept[1]


def _write_slice(buffer: torch.Tensor, begin: torch.Tensor, states: torch.Tensor) -> None:
    """Assign a slice, which a trace records with its bounds as values and coremltools reads as ``slice_update``."""
    first = begin[0]
    buffer[:, :, first : first + states.shape[2]] = states


def _write_selected(buffer: torch.Tensor, begin: torch.Tensor, states: torch.Tensor) -> None:
    """Assign without a slice, because torch.export refuses computed bounds.

    One token is assigned by its index. For more tokens, coremltools 9.0 has no indexed assignment except of whole
    dimensions, so each position of the buffer selects the token at that position, or keeps its value.
    """
    count = states.shape[2]
    if count == 1:
        buffer[:, :, begin.long()] = states
        return
    at = torch.arange(buffer.shape[2], dtype=begin.dtype) - begin
    falls = torch.logical_and(at >= 0, at < count)[None, None, :, None]
    buffer.copy_(torch.where(falls, states.index_select(2, at.clamp(0, count - 1)), buffer))


WRITES = {"trace": _write_slice, "export": _write_selected}
"""The function that writes a buffer, by frontend; coremltools 9.0 loses a traced indexed assignment."""


class StatefulModel(torch.nn.Module):
    """input_ids (1, T) and position (1,), integer -> logits (1, T, vocabulary), float32, and the buffers changed.

    Parameters
    ----------
    network: a transformers causal language model.
    query_length: T, fixed.
    cache_length: N, positions the buffers hold; ``position + T`` must not exceed it.
    kept: the shapes that each layer keeps, see :func:`cache_shapes`.
    frontend: which of :data:`WRITES` writes the buffers.
    """

    def __init__(
        self, network: Any, query_length: int, cache_length: int, kept: tuple[CacheShape, ...], frontend: str
    ) -> None:
        super().__init__()
        self.network = network
        self._write = WRITES[frontend]
        self._accepts = frozenset(inspect.signature(network.forward).parameters)
        self.states: dict[str, tuple[int, ...]] = {}
        for layer in kept:
            self.states |= layer.states(cache_length)
        for name, shape in self.states.items():
            self.register_buffer(name, torch.zeros(shape))
        self.queries: torch.Tensor
        self.positions: torch.Tensor
        self.register_buffer("queries", torch.arange(query_length, dtype=torch.int32), persistent=False)
        self.register_buffer("positions", torch.arange(cache_length, dtype=torch.int32), persistent=False)

    def forward(self, input_ids: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
        """Return the logits, shape (1, T, vocabulary)."""
        queries = position + self.queries
        offered = {
            "attention_mask": masks.attention_masks(self.network.config, queries, self.positions),
            "position_ids": queries[None],
            "past_key_values": _BufferCache(self, position, self._write),
            "use_cache": True,
        }
        arguments = {name: value for name, value in offered.items() if name in self._accepts}
        logits: torch.Tensor = self.network(input_ids=input_ids, **arguments).logits
        return logits

    def reset(self) -> None:
        """Zero the buffers."""
        for name in self.states:
            getattr(self, name).zero_()


def cache_shapes(network: Any) -> tuple[CacheShape, ...]:
    """Run a causal model on one token and return the cache shapes of its layers.

    Raises
    ------
    UnsuitedShapeError: if the layers do not each keep keys and values and nothing else; in one line that says why.
    """
    types = set(getattr(network.config, "layer_types", None) or ())
    other = sorted(types & (masks.WITHOUT_MASK | {"hybrid"}))
    if other:
        raise UnsuitedShapeError(f"{', '.join(other)} layers keep another state than keys and values")
    if "past_key_values" not in inspect.signature(network.forward).parameters:
        raise UnsuitedShapeError(f"{type(network).__name__} takes no key-value cache")
    if getattr(network.config, "num_kv_shared_layers", 0):
        raise UnsuitedShapeError("layers that share keys and values with earlier ones are not supported")
    recorder, first = _Recorder(), torch.zeros(1, dtype=torch.long)
    with torch.no_grad():
        network(
            input_ids=first[None],
            attention_mask=masks.attention_masks(network.config, first, first),
            position_ids=first[None],
            past_key_values=recorder,
            use_cache=True,
        )
    layers = [kept.layer for kept in recorder.found]
    if not layers or len(layers) != len(set(layers)):
        raise UnsuitedShapeError(f"expected one update of the cache a layer, found layers {layers}")
    return tuple(recorder.found)
