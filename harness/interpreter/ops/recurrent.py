"""Recurrent layers over sequences ``[s, b, I]``; gates stacked in MIL's order along the first weight axis.

Every step runs in the compute type and states pass between steps unrounded: a layer is one op with one
rounding. ``reverse`` runs from the last step to the first and leaves outputs at their own steps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from harness.interpreter.registry import impl

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from harness.interpreter.context import Context

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda x: x,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "hard_sigmoid": lambda x: (0.2 * x + 0.5).clamp(0, 1),
    "sigmoid_hard": lambda x: (0.2 * x + 0.5).clamp(0, 1),
    "scaled_tanh": lambda x: 1.7159 * torch.tanh(2 / 3 * x),
    "softplus": functional.softplus,
    "softsign": functional.softsign,
}


def _activation(name: str) -> Callable[[Tensor], Tensor]:
    if name not in ACTIVATIONS:
        raise ValueError(f"unknown activation {name!r}; known: {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]


def _scan(
    x: Tensor, states: tuple[Tensor, ...], step: Callable[..., tuple[Tensor, ...]], *, reverse: bool
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run ``step(x_t, *states)`` over the sequence; return the first state at every step, and the last states."""
    outputs = []
    for x_t in reversed(x.unbind(0)) if reverse else x.unbind(0):
        states = step(x_t, *states)
        outputs.append(states[0])
    return torch.stack(outputs[::-1] if reverse else outputs), states


def _sequence(outputs: Tensor, last: Tensor, *, whole: bool) -> Tensor:
    return outputs if whole else last[None]


@impl("rnn")
def rnn(
    ctx: Context,
    x: Tensor,
    initial_h: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None = None,
    *,
    direction: str = "forward",
    output_sequence: bool = False,
    activation: str = "tanh",
) -> tuple[Tensor, Tensor]:
    """Return ``h_t = activation(W_ih x_t + W_hh h_{t-1} + b)``, of every step or the last, and the last."""
    act, offset = _activation(activation), 0 if bias is None else bias

    def step(x_t: Tensor, h: Tensor) -> tuple[Tensor, ...]:
        return (act(ctx.matmul(x_t, weight_ih.T) + ctx.matmul(h, weight_hh.T) + offset),)

    outputs, (last,) = _scan(x, (initial_h,), step, reverse=direction == "reverse")
    return _sequence(outputs, last, whole=output_sequence), last


@impl("gru")
def gru(
    ctx: Context,
    x: Tensor,
    initial_h: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None = None,
    input_bias: Tensor | None = None,
    *,
    direction: str = "forward",
    output_sequence: bool = False,
    recurrent_activation: str = "sigmoid",
    activation: str = "tanh",
    reset_after: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return ``h_t = (1 - z) o + z h_{t-1}``, of every step or the last, and the last; gates r, o, z.

    ``o = activation(W_io x + W_ho (r h) + b)``; with ``reset_after``, ``r (W_ho h + b)`` instead.
    """
    gate, act = _activation(recurrent_activation), _activation(activation)
    zeros = x.new_zeros(weight_hh.shape[0])
    b_r, b_o, b_z = (zeros if bias is None else bias).chunk(3)
    i_r, i_o, i_z = (zeros if input_bias is None else input_bias).chunk(3)
    hidden_r, hidden_o, hidden_z = weight_hh.chunk(3)

    def step(x_t: Tensor, h: Tensor) -> tuple[Tensor, ...]:
        x_r, x_o, x_z = ctx.matmul(x_t, weight_ih.T).chunk(3, -1)
        r = gate(x_r + i_r + ctx.matmul(h, hidden_r.T) + b_r)
        z = gate(x_z + i_z + ctx.matmul(h, hidden_z.T) + b_z)
        after, before = r if reset_after else 1, 1 if reset_after else r
        recurrent = after * (ctx.matmul(before * h, hidden_o.T) + b_o)
        return ((1 - z) * act(x_o + i_o + recurrent) + z * h,)

    outputs, (last,) = _scan(x, (initial_h,), step, reverse=direction == "reverse")
    return _sequence(outputs, last, whole=output_sequence), last


@impl("lstm")
def lstm(
    ctx: Context,
    x: Tensor,
    initial_h: Tensor,
    initial_c: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None = None,
    peephole: Tensor | None = None,
    *,
    weight_ih_back: Tensor | None = None,
    weight_hh_back: Tensor | None = None,
    bias_back: Tensor | None = None,
    peephole_back: Tensor | None = None,
    direction: str = "forward",
    output_sequence: bool = False,
    recurrent_activation: str = "sigmoid",
    cell_activation: str = "tanh",
    activation: str = "tanh",
    clip: float | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return outputs, last hidden and last cell state; gates i, f, o, z; both directions side by side."""
    acts = (_activation(recurrent_activation), _activation(cell_activation), _activation(activation))
    runs = [(weight_ih, weight_hh, bias, peephole, direction == "reverse")]
    if direction == "bidirectional":
        if weight_ih_back is None or weight_hh_back is None:
            raise ValueError("a bidirectional lstm needs weight_ih_back and weight_hh_back")
        runs.append((weight_ih_back, weight_hh_back, bias_back, peephole_back, True))
    results = []
    chunks = zip(initial_h.chunk(len(runs), -1), initial_c.chunk(len(runs), -1), strict=True)
    for (ih, hh, b, peep, reverse), (h, c) in zip(runs, chunks, strict=True):
        outputs, (last_h, last_c) = _scan(x, (h, c), _lstm_step(ctx, ih, hh, b, peep, acts, clip), reverse=reverse)
        results.append((_sequence(outputs, last_h, whole=output_sequence), last_h, last_c))
    whole, last_h, last_c = (torch.cat(parts, -1) for parts in zip(*results, strict=True))
    return whole, last_h, last_c


def _lstm_step(
    ctx: Context,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None,
    peephole: Tensor | None,
    activations: tuple[Callable[[Tensor], Tensor], ...],
    clip: float | None,
) -> Callable[..., tuple[Tensor, ...]]:
    gate, cell, act = activations
    offset = 0 if bias is None else bias
    p_i, p_f, p_o = (None, None, None) if peephole is None else peephole.chunk(3)

    def clipped(value: Tensor, weight: Tensor | None, c: Tensor) -> Tensor:
        value = value if weight is None else value + weight * c
        return value if clip is None else value.clamp(-clip, clip)

    def step(x_t: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, ...]:
        i, f, o, z = (ctx.matmul(x_t, weight_ih.T) + ctx.matmul(h, weight_hh.T) + offset).chunk(4, -1)
        c_t = gate(clipped(f, p_f, c)) * c + gate(clipped(i, p_i, c)) * cell(clipped(z, None, c))
        return gate(clipped(o, p_o, c_t)) * act(c_t), c_t

    return step
