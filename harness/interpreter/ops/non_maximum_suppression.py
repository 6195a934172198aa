"""Non-maximum suppression, of the tensor-operation family; its layout changed in iOS 17.

A box scores the largest of its class scores, and belongs to that class. In order of that score a box is kept
unless a kept one (of its class, if suppression is by class) overlaps it by more than the threshold, measured
as intersection over union. Places beyond the kept boxes hold zeros, and -1 for the index.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from harness.interpreter.registry import impl

if TYPE_CHECKING:
    from torch import Tensor


@impl("non_maximum_suppression")
def non_maximum_suppression(
    boxes: Tensor,
    scores: Tensor,
    iou_threshold: float,
    score_threshold: float,
    max_boxes: int,
    *,
    per_class_suppression: bool = False,
) -> tuple[Tensor, ...]:
    """Select from boxes ``[n, B, 4]`` (x, y, width, height) with scores ``[n, B, K]`` above a threshold."""
    indices = torch.full((boxes.shape[0], max_boxes), -1, dtype=torch.int64)
    counts = torch.zeros(boxes.shape[0], dtype=torch.int64)
    for n, (box, score) in enumerate(zip(boxes, scores, strict=True)):
        best, classes = score.max(-1)
        suppresses = overlaps(box) > iou_threshold
        if per_class_suppression:
            suppresses &= classes[:, None] == classes[None, :]
        kept: list[int] = []
        for i in best.argsort(descending=True, stable=True).tolist():
            if len(kept) < max_boxes and best[i] > score_threshold and not bool(suppresses[i, kept].any()):
                kept.append(i)
        indices[n, : len(kept)] = torch.tensor(kept, dtype=torch.int64)
        counts[n] = len(kept)
    return _taken(boxes, indices), _taken(scores, indices), indices, counts


@impl("non_maximum_suppression", since=17)
def non_maximum_suppression_boxes_last(
    boxes: Tensor, scores: Tensor, iou_threshold: float, max_boxes: int, *, per_class_suppression: bool = False
) -> tuple[Tensor, ...]:
    """Select from boxes ``[n, 4, B]`` with scores ``[n, K, B]``, whatever the score."""
    chosen, chosen_scores, indices, _ = non_maximum_suppression(
        boxes.mT,
        scores.mT,
        iou_threshold,
        float("-inf"),
        max_boxes,
        per_class_suppression=per_class_suppression,
    )
    return chosen.mT, chosen_scores.mT, indices


def overlaps(boxes: Tensor) -> Tensor:
    """Return intersection over union of every two boxes ``[B, 4]`` given by centre, width and height."""
    centre, size = boxes[:, :2], boxes[:, 2:]
    low, high = centre - size / 2, centre + size / 2
    sides = torch.minimum(high[:, None], high[None]) - torch.maximum(low[:, None], low[None])
    shared = sides.clamp(min=0).prod(-1)
    area = size.prod(-1)
    union = area[:, None] + area[None] - shared
    return torch.where(union > 0, shared / union, torch.zeros_like(shared))


def _taken(values: Tensor, indices: Tensor) -> Tensor:
    """Take rows by index, zeros where the index is -1."""
    rows = values.gather(1, indices.clamp(min=0)[..., None].expand(-1, -1, values.shape[-1]))
    return rows.masked_fill((indices < 0)[..., None], 0)
