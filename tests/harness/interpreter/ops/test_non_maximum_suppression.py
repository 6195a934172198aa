"""Non-maximum suppression on hand-made boxes, and on random ones against a plain greedy loop."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

SMOKE_BOXES = np.repeat(np.arange(4, dtype=np.float32)[None, :, None], 4, axis=2)
SMOKE_SCORES = np.array([[[-3.5], [9.4], [2.3], [0.7]]], np.float32)
OUT = ("fp32", "fp32", "int32", "int32")


def test_boxes_below_the_score_threshold_are_left_out(run_op: Any) -> None:
    given = {"boxes": run_op.variable(SMOKE_BOXES), "scores": SMOKE_SCORES, "iou_threshold": 0.3}
    result = run_op("non_maximum_suppression", opset=15, out=OUT, score_threshold=0.4, max_boxes=4, **given)
    boxes, scores, indices, counts = result
    assert indices.tolist() == [[1, 2, 3, -1]]
    assert counts.tolist() == [3]
    assert boxes[0, :, 0].tolist() == [1.0, 2.0, 3.0, 0.0]
    assert scores[0, 3, 0] == 0.0


def overlap(a: Any, b: Any) -> float:
    sides = []
    for i in (0, 1):
        low, high = max(a[i] - a[i + 2] / 2, b[i] - b[i + 2] / 2), min(a[i] + a[i + 2] / 2, b[i] + b[i + 2] / 2)
        sides.append(high - low)
    shared = max(0, sides[0]) * max(0, sides[1])
    return shared / (a[2] * a[3] + b[2] * b[3] - shared)


@pytest.mark.parametrize("by_class", [False, True])
def test_greedy_selection(run_op: Any, rng: np.random.Generator, by_class: Any) -> None:
    boxes = rng.uniform(1, 10, size=(2, 12, 4)).astype(np.float32)
    scores = rng.permutation(72).reshape(2, 12, 3).astype(np.float32)
    expected = []
    for box, score in zip(boxes.astype(np.float64), scores, strict=True):
        kept: list[int] = []
        for i in np.argsort(-score.max(-1)):
            rivals = [k for k in kept if not by_class or score[k].argmax() == score[i].argmax()]
            if all(overlap(box[i], box[k]) <= 0.3 for k in rivals):
                kept.append(int(i))
        expected.append((kept + [-1] * 12)[:5])
    given = {"iou_threshold": 0.3, "max_boxes": 5, "per_class_suppression": by_class}
    inputs = {"boxes": run_op.variable(boxes), "scores": scores, "score_threshold": -1.0}
    old = run_op("non_maximum_suppression", opset=16, out=OUT, **inputs, **given)
    assert old[2].tolist() == expected
    new = run_op(
        "non_maximum_suppression",
        opset=17,
        out=OUT[:3],
        boxes=run_op.variable(boxes.transpose(0, 2, 1)),
        scores=scores.transpose(0, 2, 1),
        **given,
    )
    assert new[2].tolist() == expected
    np.testing.assert_array_equal(new[0], old[0].transpose(0, 2, 1))
