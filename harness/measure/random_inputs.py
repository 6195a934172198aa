"""Seeded inputs of the shapes that a program declares, for programs whose own inputs are not known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from harness.interpreter.program import Function, Input


def random_inputs(function: Function, seed: int = 0) -> dict[str, np.ndarray[Any, Any]]:
    """Return an array for each input of a function, by name; the same seed gives the same arrays."""
    generator = np.random.default_rng(seed)
    return {item.value.name: _random(item, generator) for item in function.inputs}


def _random(item: Input, generator: np.random.Generator) -> np.ndarray[Any, Any]:
    """Return N(0, 1) for a float input, and zeros and ones, which are valid indices, for an integer one."""
    shape = [n or 1 for n in item.value.type.shape or ()]
    if item.flexible is not None:
        flexible = item.flexible
        shape = list(flexible.enumerated[0]) if flexible.enumerated else [low for low, _ in flexible.bounds]
    if not item.value.type.dtype.is_float:
        return generator.integers(0, 2, shape).astype(np.int32)
    return generator.standard_normal(shape).astype(np.float32)
