"""Masks say who sees whom, in numbers that float16 keeps."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import MistralConfig
from transformers.masking_utils import create_causal_mask, create_sliding_window_causal_mask

from harness.export import masks

LENGTH = 11
POSITIONS = torch.arange(LENGTH)


def visible(mask: torch.Tensor) -> list[list[bool]]:
    return (mask[0, 0] == 0).tolist()


def rule(sees: object) -> list[list[bool]]:
    assert callable(sees)
    return [[bool(sees(query, key)) for key in range(LENGTH)] for query in range(LENGTH)]


def test_full_attention() -> None:
    mask = masks.attention_masks(SimpleNamespace(), POSITIONS, POSITIONS)
    assert isinstance(mask, torch.Tensor)
    assert mask.shape == (1, 1, LENGTH, LENGTH)
    assert visible(mask) == rule(lambda query, key: key <= query)


@pytest.mark.parametrize("window", [1, 3, LENGTH, LENGTH + 5])
def test_sliding_window(window: int) -> None:
    mask = masks.attention_masks(SimpleNamespace(sliding_window=window), POSITIONS, POSITIONS)
    assert visible(mask) == rule(lambda query, key: key <= query and query - key < window)


def test_no_window() -> None:
    mask = masks.attention_masks(SimpleNamespace(sliding_window=None), POSITIONS, POSITIONS)
    assert visible(mask) == rule(lambda query, key: key <= query)


def test_by_layer_type() -> None:
    types = ["sliding_attention", "full_attention", "chunked_attention", "linear_attention"]
    config = SimpleNamespace(layer_types=types, sliding_window=3, attention_chunk_size=4)
    by_type = masks.attention_masks(config, POSITIONS, POSITIONS)
    assert isinstance(by_type, dict)
    assert list(by_type) == types
    assert by_type["linear_attention"] is None
    assert visible(by_type["full_attention"]) == rule(lambda query, key: key <= query)
    assert visible(by_type["sliding_attention"]) == rule(lambda query, key: 0 <= query - key < 3)
    assert visible(by_type["chunked_attention"]) == rule(lambda query, key: key <= query and key // 4 == query // 4)


def test_window_is_ignored_where_no_layer_slides() -> None:
    config = SimpleNamespace(layer_types=["full_attention"] * 2, sliding_window=3)
    assert visible(masks.attention_masks(config, POSITIONS, POSITIONS)) == rule(lambda query, key: key <= query)


@pytest.mark.parametrize("window", [None, 3])
def test_same_as_transformers(window: int | None) -> None:
    config = MistralConfig(sliding_window=window, attn_implementation="eager")
    create = create_causal_mask if window is None else create_sliding_window_causal_mask
    theirs = create(config, torch.zeros(1, LENGTH, 8), None, None, torch.arange(LENGTH)[None])
    ours = masks.attention_masks(config, POSITIONS, POSITIONS)
    assert visible(ours) == visible(theirs)


def test_masked_value_is_exact_in_float16_and_hides_completely() -> None:
    assert float(np.float16(masks.MASKED)) == masks.MASKED
    scores = np.array([60.0, -60.0, 60.0 + masks.MASKED], np.float16).astype(np.float32)
    weights = np.exp(scores - scores.max())
    assert weights[2] == 0
