"""The last op of a classifier: the label of the largest probability, and every label's probability."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.interpreter.registry import impl

if TYPE_CHECKING:
    from torch import Tensor

    from harness.interpreter.registry import List


@impl("classify")
def classify(probabilities: Tensor, classes: List) -> tuple[int | str, dict[int | str, float]]:
    """Return the first label of the largest probability, and probabilities by label."""
    values = probabilities.reshape(-1).double().tolist()
    items: list[Any] = list(classes)  # strings, or tensors of one integer
    labels = [one if isinstance(one, str) else int(one) for one in items]
    if len(values) != len(labels):
        raise ValueError(f"{len(labels)} labels for {len(values)} probabilities")
    return labels[max(range(len(values)), key=values.__getitem__)], dict(zip(labels, values, strict=True))
