"""Executors of converted models, behind one protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np


class Executor(Protocol):
    """Runs one converted model."""

    name: str
    """Stands in every row of a table: ``reference`` is never a device."""

    def predict(self, inputs: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
        """Return the outputs by name."""
