"""Attention as one op (iOS 18)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from harness.interpreter.registry import impl

if TYPE_CHECKING:
    from torch import Tensor

    from harness.interpreter.context import Context


@impl("scaled_dot_product_attention")
def scaled_dot_product_attention(
    ctx: Context, query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None
) -> Tensor:
    """``softmax(query @ key.T / sqrt(E) + mask) @ value``; false in a boolean mask is minus infinity."""
    scores = ctx.matmul(query, key.mT) / math.sqrt(query.shape[-1])
    if attn_mask is not None:
        masked = attn_mask.dtype == torch.bool
        scores = scores.masked_fill(~attn_mask, -math.inf) if masked else scores + attn_mask
    return ctx.matmul(ctx.softmax(scores, -1), value)
