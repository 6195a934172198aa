"""Give a network of seeded weights a massive channel in its residual stream, as trained networks have.

In trained models one MLP adds a large value to a channel or two of the residual stream, where it stays to the end: up
to 410 in Llama 3.2 1B, 14,858 in Qwen3 1.7B, 22,552 in SmolLM2 135M, 61,040 in Gemma 3 1B. From 256 on its square
exceeds float16, and an unfused RMSNorm turns the whole row into zeros. Later norms give such a channel a small weight
and the others a large one, so the model's information is in the other channels.

The last linear layer of the middle layer gets a row that yields the peak on each of the given tokens. Where a norm
follows that linear layer, the norm's weight yields the peak. Norms that read the stream afterwards get weights that
bring the channel down to 1 and the others up to the size they had.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import torch

from harness.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    Call = tuple[torch.nn.Module, torch.Tensor, torch.Tensor]
    Hook = Callable[[torch.nn.Module, tuple[Any, ...], dict[str, Any], Any], Any]

CHANNEL = 5
"""Index of the massive channel; in trained models it may be any."""

BEFORE_NORM = 8.0
"""Ratio of the channel to the others before a norm whose weight then multiplies the channel to the peak."""

STANDS_OUT = 32.0
"""From this ratio of the channel to the root mean square of the others on, a row is taken for one of the stream."""

DEAD = 1e-12


def make_massive(network: torch.nn.Module, tokens: torch.Tensor, peak: float) -> None:
    """Change a causal language model's weights so that its residual stream reaches a peak on given tokens.

    Parameters
    ----------
    network: a network with float32 weights.
    tokens: ids, (1, N).
    peak: magnitude of the massive channel.

    Raises
    ------
    ExportError: if the middle layer does not end in a linear layer or a norm after one, or if no later norm reads its
    result.
    """
    config: Any = network.config
    layers = _layers(network, config.num_hidden_layers)
    born = layers[(len(layers) - 1) // 2]
    width = config.hidden_size
    calls: list[Call] = []
    try:
        readers = _norms_after(network, tokens, born, width, calls, lambda: _raise_channel(network, calls, width, peak))
    except _NormFollows as found:
        _carry(found.norm, network, tokens, peak)
        readers = _norms_after(network, tokens, born, width)
    if not readers:
        raise ExportError(f"{type(network).__name__}: no norm reads its massive channel: set activations = 'tame'")
    for module, ratio in readers.items():
        _quieten(module, ratio)


def _layers(network: torch.nn.Module, count: int) -> torch.nn.ModuleList:
    found = [one for one in network.modules() if isinstance(one, torch.nn.ModuleList) and len(one) == count]
    if not found:
        raise ExportError(f"{type(network).__name__}: its {count} layers were not found: set activations = 'tame'")
    return found[0]


class _NormFollows(Exception):  # noqa: N818 - no error: it ends a run that whole runs must follow
    """A norm follows the linear layer that ends the layer, so that the norm's weight yields the peak."""

    def __init__(self, norm: torch.nn.Module) -> None:
        self.norm = norm


def _raise_channel(network: torch.nn.Module, calls: Sequence[Call], width: int, peak: float) -> None:
    """Change the last linear layer among the calls that a layer has made; raise :class:`_NormFollows` if one does."""
    last = next((i for i in reversed(range(len(calls))) if _is_linear(calls[i][0], width)), None)
    if last is None:
        raise ExportError(f"{type(network).__name__}: no linear layer ends the layer: set activations = 'tame'")
    linear, given, made = calls[last]
    norm = next((call[0] for call in calls[last + 1 :] if _is_norm(call[0], width)), None)
    others = float(made.square().mean().sqrt())
    _yield_on_every_token(linear, given, peak if norm is None else BEFORE_NORM * others)
    if norm is not None:
        raise _NormFollows(norm)


def _run(network: torch.nn.Module, tokens: torch.Tensor, hooks: Iterable[tuple[torch.nn.Module, Hook]]) -> None:
    with torch.inference_mode(), ExitStack() as stack:
        for module, hook in hooks:
            stack.callback(module.register_forward_hook(hook, with_kwargs=True).remove)
        inner: Any = network.base_model  # the vocabulary's projection reads the stream, and nothing reads its result
        inner(input_ids=tokens.long())


def _is_linear(module: torch.nn.Module, width: int) -> bool:
    return isinstance(module, torch.nn.Linear) and module.out_features == width


def _is_norm(module: torch.nn.Module, width: int) -> bool:
    weight = getattr(module, "weight", None)
    return "norm" in type(module).__name__.lower() and weight is not None and weight.shape == (width,)


def _yield_on_every_token(linear: torch.nn.Module, given: torch.Tensor, value: float) -> None:
    """Set the channel's row to the weights of smallest norm that yield a value on every token seen."""
    rows = given.reshape(-1, given.shape[-1]).double()
    weight: Any = linear.weight
    weight.data[CHANNEL] = (torch.linalg.pinv(rows, rtol=1e-6) @ torch.full((len(rows),), value).double()).float()


def _carry(norm: torch.nn.Module, network: torch.nn.Module, tokens: torch.Tensor, peak: float) -> None:
    """Set a norm's weight so that the channel reaches the peak."""
    weight: Any = norm.weight
    weight.data[CHANNEL] = 1.0 - _offset(norm)
    seen: list[torch.Tensor] = []
    _run(network, tokens, [(norm, lambda _module, _given, _named, made: seen.append(made.detach()))])
    weight.data[CHANNEL] = peak / max(float(seen[0][..., CHANNEL].abs().max()), DEAD) - _offset(norm)


def _offset(norm: torch.nn.Module) -> float:
    """Return 1 for a norm that multiplies by ``1 + weight``, else 0; seeded weights are near 0 or near 1."""
    weight: Any = norm.weight
    return 1.0 if float(weight.median()) < 0.5 else 0.0


def _quieten(norm: torch.nn.Module, ratio: float) -> None:
    """Multiply a norm's weights by the ratio of a row's size to that of its other channels; the channel becomes 1."""
    weight: Any = norm.weight
    offset = _offset(norm)
    weight.data = (weight.data + offset) * ratio - offset
    weight.data[CHANNEL] = len(weight) ** -0.5 - offset


def _norms_after(
    network: torch.nn.Module,
    tokens: torch.Tensor,
    born: torch.nn.Module,
    width: int,
    calls: list[Call] | None = None,
    change: Callable[[], None] | None = None,
) -> dict[torch.nn.Module, float]:
    """Return the norms called after a layer whose input's channel is far above the others.

    The ratio given with each is that of a row's size to the size of its other channels, which in a wide model is small
    although the channel stands out.

    Parameters
    ----------
    calls: takes module, first input and output of each leaf that the layer calls, in order.
    change: called when the layer has run for the first time, which then runs again.
    """
    found: dict[torch.nn.Module, float] = {}
    begun = False

    def keep(module: torch.nn.Module, given: tuple[Any, ...], _named: Any, made: Any) -> None:
        if calls is not None and given and isinstance(given[0], torch.Tensor) and isinstance(made, torch.Tensor):
            calls.append((module, given[0].detach(), made.detach()))

    def end(layer: Any, given: tuple[Any, ...], named: dict[str, Any], made: Any) -> Any:
        nonlocal begun
        if change is not None and not begun:
            change()
            made = layer.forward(*given, **named)
        begun = True
        return made

    def look(module: torch.nn.Module, given: tuple[Any, ...], _named: Any, _made: Any) -> None:
        x = given[0].detach()
        others = x.clone()
        others[..., CHANNEL] = 0
        size = others.norm(dim=-1)
        stands_out = float((x[..., CHANNEL].abs() / size).median()) * (width - 1) ** 0.5
        if begun and stands_out > STANDS_OUT:
            found.setdefault(module, float((x.norm(dim=-1) / size).median()))

    leaves = ((one, keep) for one in born.modules() if not any(one.children()))
    norms = ((one, look) for one in network.modules() if _is_norm(one, width))
    _run(network, tokens, [*leaves, *norms, (born, end)])
    return found
