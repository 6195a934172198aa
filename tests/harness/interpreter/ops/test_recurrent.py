"""Recurrent layers against torch in float64, whose gates are in another order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

RTOL = 2e-6
STEPS, BATCH, WIDTH, HIDDEN = 5, 2, 3, 4


def reorder(weight: torch.Tensor, order: list[int]) -> np.ndarray:
    """Take torch's gate blocks in MIL's order, in float32."""
    parts = weight.detach().chunk(len(order))
    return torch.cat([parts[i] for i in order]).float().numpy()


def inputs(rng: np.random.Generator, *sizes: int) -> list[np.ndarray]:
    return [rng.normal(size=(STEPS, BATCH, WIDTH)).astype(np.float32)] + [
        rng.normal(size=(BATCH, size)).astype(np.float32) for size in sizes
    ]


@pytest.mark.parametrize("whole", [True, False])
def test_rnn(run_op: Any, rng: np.random.Generator, whole: Any) -> None:
    module = torch.nn.RNN(WIDTH, HIDDEN).double()
    x, h = inputs(rng, HIDDEN)
    expected, last = module(torch.from_numpy(x).double(), torch.from_numpy(h).double()[None])
    result = run_op(
        "rnn",
        x=run_op.variable(x),
        initial_h=h,
        weight_ih=reorder(module.weight_ih_l0, [0]),
        weight_hh=reorder(module.weight_hh_l0, [0]),
        bias=reorder(module.bias_ih_l0 + module.bias_hh_l0, [0]),
        output_sequence=whole,
        out=("fp32", "fp32"),
    )
    sequence = expected if whole else expected[-1:]
    np.testing.assert_allclose(result[0], sequence.detach().numpy(), rtol=RTOL, atol=RTOL)
    np.testing.assert_allclose(result[1], last[0].detach().numpy(), rtol=RTOL, atol=RTOL)


def test_gru_with_the_reset_after(run_op: Any, rng: np.random.Generator) -> None:
    module = torch.nn.GRU(WIDTH, HIDDEN).double()  # gates r, z, n; reset after the product
    x, h = inputs(rng, HIDDEN)
    expected, _ = module(torch.from_numpy(x).double(), torch.from_numpy(h).double()[None])
    order = [0, 2, 1]
    result = run_op(
        "gru",
        x=run_op.variable(x),
        initial_h=h,
        weight_ih=reorder(module.weight_ih_l0, order),
        weight_hh=reorder(module.weight_hh_l0, order),
        bias=reorder(module.bias_hh_l0, order),
        input_bias=reorder(module.bias_ih_l0, order),
        reset_after=True,
        output_sequence=True,
        out=("fp32", "fp32"),
    )
    np.testing.assert_allclose(result[0], expected.detach().numpy(), rtol=RTOL, atol=RTOL)


def test_bidirectional_lstm(run_op: Any, rng: np.random.Generator) -> None:
    module = torch.nn.LSTM(WIDTH, HIDDEN, bidirectional=True).double()  # gates i, f, z, o
    x, h, c = inputs(rng, 2 * HIDDEN, 2 * HIDDEN)
    split = [torch.stack(torch.from_numpy(v).double().chunk(2, -1)) for v in (h, c)]
    expected, (last_h, last_c) = module(torch.from_numpy(x).double(), (split[0], split[1]))
    order = [0, 1, 3, 2]
    weights = {
        f"{kind}{mil}": reorder(getattr(module, f"{kind}_l0{theirs}"), order)
        for kind in ("weight_ih", "weight_hh")
        for mil, theirs in (("", ""), ("_back", "_reverse"))
    }
    biases = {
        f"bias{mil}": reorder(getattr(module, f"bias_ih_l0{t}") + getattr(module, f"bias_hh_l0{t}"), order)
        for mil, t in (("", ""), ("_back", "_reverse"))
    }
    given = {"x": run_op.variable(x), "initial_h": h, "initial_c": c, "direction": "bidirectional", **weights, **biases}
    result = run_op("lstm", output_sequence=True, out=("fp32",) * 3, **given)
    np.testing.assert_allclose(result[0], expected.detach().numpy(), rtol=RTOL, atol=RTOL)
    np.testing.assert_allclose(result[1], torch.cat(tuple(last_h), -1).detach().numpy(), rtol=RTOL, atol=RTOL)
    np.testing.assert_allclose(result[2], torch.cat(tuple(last_c), -1).detach().numpy(), rtol=RTOL, atol=RTOL)
    short = run_op("lstm", output_sequence=False, out=("fp32",) * 3, **given)
    np.testing.assert_array_equal(short[0], result[1][None])
