"""Measure how well a converted model reads and continues a text, compared with the float32 PyTorch model.

The text is read in windows of the program's length. Each token except a window's first is predicted from the earlier
tokens of the window. Perplexity is ``exp`` of the mean negative log likelihood. The greedy continuation takes the most
likely token each time; a program with states decodes token by token, and any other is run on the whole text so far.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.measure.feed import feed, filled

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from harness.export import ExportedModel
    from harness.plan.shapes import Shape
    from harness.runtime import Executor

    Array = np.ndarray[Any, Any]

CONTINUED = 24
"""Largest number of tokens of the greedy continuation; a short program has positions for fewer."""
PROMPT = 8
"""Largest number of tokens of the text that the continuation begins after."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A text in tokens, with float32 PyTorch's reading of it."""

    tokens: Array
    """Ids of the whole text, int32, (1, n)."""
    perplexity: float
    choices: Array
    """Most likely next token after each token that has one in its window, (m,)."""
    continuation: Array
    """Ids of the greedy continuation, int32, (c,)."""

    @staticmethod
    def prompt_length(length: int) -> int:
        """Return after how many tokens of the text the continuation begins, for a program of a given length."""
        return max(1, min(PROMPT, length // 4))

    def arrays(self) -> dict[str, Array]:
        """Return the reading as arrays by name."""
        return {
            "text_tokens": self.tokens,
            "text_perplexity": np.array(self.perplexity),
            "text_choices": self.choices,
            "text_continuation": self.continuation,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Reading | None:
        """Return the reading that :meth:`arrays` came from; None if there is no text."""
        if "text_tokens" not in arrays:
            return None
        return cls(
            arrays["text_tokens"],
            float(arrays["text_perplexity"]),
            arrays["text_choices"],
            arrays["text_continuation"],
        )


@dataclass(frozen=True, slots=True)
class Read:
    """A converted model's reading of a text."""

    perplexity: float
    """Perplexity; infinite if a logit is not finite."""
    agreement: float
    """Share of next tokens equal to float32 PyTorch's."""
    continuation: Array


def of_module(exported: ExportedModel, tokens: Array) -> Reading:
    """Read and continue a text of token ids (1, n) with the float32 PyTorch model."""
    import torch

    length = exported.shape.length

    def logits(ids: Array) -> Array:
        with torch.inference_mode():
            found = exported.module(torch.from_numpy(filled(ids, length))).float().numpy()[0, : ids.shape[1]]
        rows: Array = found
        return rows

    perplexity, choices = _read(logits, tokens, length)
    return Reading(tokens, perplexity, choices, _continue(logits, tokens, length))


def of_program(executors: Mapping[str, Executor], shape: Shape, reading: Reading) -> Read:
    """Read and continue the same text with a converted model."""

    def logits(ids: Array) -> Array:
        positions, rows = feed(executors, shape, ids)
        return rows[: ids.shape[1]] if shape.kind == "flexible" else rows[np.argsort(positions)]

    perplexity, choices = _read(logits, reading.tokens, shape.length)
    agreement = float(np.mean(choices == reading.choices))
    return Read(perplexity, agreement, _continue(logits, reading.tokens, shape.length))


def _read(logits: Callable[[Array], Array], tokens: Array, length: int) -> tuple[float, Array]:
    """Return the perplexity and the most likely next tokens, window by window."""
    losses, choices = [], []
    for begin in range(0, tokens.shape[1] - 1, length):
        window = tokens[:, begin : begin + length]
        if window.shape[1] < 2:
            continue
        rows = logits(window)[:-1].astype(np.float64)
        choices.append(np.where(np.isfinite(rows).all(-1), np.argmax(rows, -1), -1))
        with np.errstate(all="ignore"):
            shifted = rows - rows.max(-1, keepdims=True)
            likelihood = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
        losses.append(-likelihood[np.arange(len(rows)), window[0, 1:]])
    mean = float(np.mean(np.concatenate(losses)))
    perplexity = math.exp(mean) if math.isfinite(mean) and mean < 700 else math.inf
    return perplexity, np.concatenate(choices).astype(np.int32)


def _continue(logits: Callable[[Array], Array], tokens: Array, length: int) -> Array:
    """Return the greedy continuation of the text's first tokens; it ends at a logit that is not finite."""
    begin = Reading.prompt_length(length)
    ids = tokens[:, :begin]
    for _ in range(min(CONTINUED, length - begin)):
        last = logits(ids)[-1]
        if not np.isfinite(last).all():
            break
        ids = np.append(ids, [[np.int32(np.argmax(last))]], axis=1).astype(np.int32)
    continued: Array = ids[0, begin:]
    return continued
