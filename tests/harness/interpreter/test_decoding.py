"""Decoding token by token with a key-value state gives what one prefill gives."""

from __future__ import annotations

import math
from typing import Any

import coremltools as ct
import numpy as np
import pytest
import torch

from harness.interpreter import ReferenceModel

WIDTH, LENGTH = 16, 6
REL_L2 = 1e-5  # float32 throughout; only the order of sums differs


class Attention(torch.nn.Module):
    """One attention head whose keys and values live in buffers that conversion turns into states."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(9)
        self.query, self.key, self.value = (torch.nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(3))
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator) / math.sqrt(WIDTH)
        self.register_buffer("keys", torch.zeros(1, LENGTH, WIDTH, dtype=torch.float16))
        self.register_buffer("values", torch.zeros(1, LENGTH, WIDTH, dtype=torch.float16))

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Attend from ``x [1, T, WIDTH]`` to everything so far; ``mask [1, T, S]`` ends where ``x`` ends."""
        end, begin = mask.shape[-1], mask.shape[-1] - x.shape[1]
        self.keys[:, begin:end] = self.key(x)
        self.values[:, begin:end] = self.value(x)
        keys, values = self.keys[:, :end], self.values[:, :end]
        scores = self.query(x) @ keys.transpose(-1, -2).to(x.dtype) / math.sqrt(WIDTH) + mask
        return torch.softmax(scores, -1) @ values.to(x.dtype)


@pytest.fixture(scope="module")
def model() -> ReferenceModel:
    """Return the converted attention, flexible in query and context length."""
    module = Attention().eval()
    traced = torch.jit.trace(module, (torch.zeros(1, 1, WIDTH), torch.zeros(1, 1, 2)), check_trace=False)
    steps, context = ct.RangeDim(1, LENGTH, 1), ct.RangeDim(1, LENGTH, 2)
    converted = ct.convert(
        traced,
        inputs=[ct.TensorType("x", (1, steps, WIDTH)), ct.TensorType("mask", (1, steps, context))],
        outputs=[ct.TensorType("y")],
        states=[
            ct.StateType(wrapped_type=ct.TensorType(shape=(1, LENGTH, WIDTH), dtype=np.float16), name=name)
            for name in ("keys", "values")
        ],
        minimum_deployment_target=ct.target.iOS18,
        compute_precision=ct.precision.FLOAT32,
        skip_model_load=True,
    )
    return ReferenceModel(converted, "fp32")


def test_token_by_token_equals_one_prefill(model: ReferenceModel, rng: np.random.Generator) -> None:
    x: Any = rng.normal(size=(1, LENGTH, WIDTH)).astype(np.float32)
    causal = np.where(np.tri(LENGTH, dtype=bool), 0, -1e4).astype(np.float32)[None]
    whole = model.evaluate({"x": x, "mask": causal}, model.make_state())["y"].numpy()
    state = model.make_state()
    steps = [
        model.evaluate({"x": x[:, t : t + 1], "mask": causal[:, t : t + 1, : t + 1]}, state)["y"].numpy()
        for t in range(LENGTH)
    ]
    stepwise = np.concatenate(steps, axis=1)
    assert np.linalg.norm(stepwise - whole) / np.linalg.norm(whole) < REL_L2
    wide = x.astype(np.float64)
    weights = {n: getattr(Attention(), n).weight.double().detach().numpy() for n in ("query", "key", "value")}
    scores = wide @ weights["query"].T @ (wide @ weights["key"].T).transpose(0, 2, 1) / math.sqrt(WIDTH) + causal
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    expected = powers / powers.sum(-1, keepdims=True) @ (wide @ weights["value"].T)
    assert np.linalg.norm(whole - expected) / np.linalg.norm(expected) < REL_L2
