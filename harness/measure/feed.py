"""Feed a run's tokens through a program of any shape, and return the logits with their positions.

A run shorter than a program's fixed length is padded with token 0. A causal model's logits do not depend on later
tokens, so the logits of the padding are dropped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.plan.shapes import Shape
    from harness.runtime import Executor

    Array = np.ndarray[Any, Any]

MASKED = 1e30
"""Magnitudes from this on stand for the infinities of attention masks, whose infinity in float16 is intended."""


def feed(executors: Mapping[str, Executor], shape: Shape, tokens: Array) -> tuple[Array, Array]:
    """Run tokens through a program.

    Parameters
    ----------
    executors: the executor of each function of the program, by name.
    shape: the program's shape.
    tokens: ids, int32, shape (1, n), n at most the shape's length.

    Returns
    -------
    Positions (rows,) and logits (rows, vocabulary): the position of each row, and its logits. A flexible program is
    run at n, n // 2 and 1 tokens, so positions occur more than once.
    """
    if shape.kind == "prefill":
        return _whole(executors["main"], tokens, shape.length)
    if shape.kind == "flexible":
        count = tokens.shape[1]
        runs = [_whole(executors["main"], tokens[:, :n], n) for n in dict.fromkeys((count, max(count // 2, 1), 1))]
        return np.concatenate([positions for positions, _ in runs]), np.concatenate([logits for _, logits in runs])
    return _with_state(executors, shape, tokens)


def _whole(executor: Executor, tokens: Array, length: int) -> tuple[Array, Array]:
    count = tokens.shape[1]
    return np.arange(count), _logits(executor.predict({"input_ids": filled(tokens, length)}))[:count]


def _with_state(executors: Mapping[str, Executor], shape: Shape, tokens: Array) -> tuple[Array, Array]:
    """Prefill the state in one call as far as the shape allows, then continue token by token."""
    decode = executors["decode" if shape.kind == "both" else "main"]
    state, count = decode.make_state(), tokens.shape[1]
    first = min(shape.prefilled, count)
    rows = []
    if first:
        head = filled(tokens[:, :first], shape.prefilled)
        logits = _logits(executors["prefill"].predict({"input_ids": head, "position": _position(0)}, state))
        rows.append(logits[:first])
    for at in range(first, count):
        one = {"input_ids": tokens[:, at : at + 1], "position": _position(at)}
        rows.append(_logits(decode.predict(one, state)))
    return np.arange(count), np.concatenate(rows)


def filled(tokens: Array, length: int) -> Array:
    """Return tokens (1, n) padded with token 0 to (1, length)."""
    return np.pad(tokens, ((0, 0), (0, length - tokens.shape[1])))


def _position(at: int) -> Array:
    return np.array([at], np.int32)


def _logits(outputs: Mapping[str, Array]) -> Array:
    """Return the one output without its first dimension of 1."""
    (logits,) = outputs.values()
    rows: Array = logits[0]
    return rows
