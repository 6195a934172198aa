"""The state that a stateful model keeps between one ``predict`` and the next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.errors import InputError, UnknownNameError
from harness.interpreter.dtypes import DType, from_numpy, to_numpy

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch


@dataclass(slots=True)
class StateCell:
    """One state tensor. Ops replace its value and never write into it, so a value once read stays."""

    value: torch.Tensor
    dtype: DType


class State:
    """The states of one model, zero at first, as ``MLModel.make_state()`` returns them.

    ``read_state`` and ``write_state`` mirror coremltools' ``MLState``.
    """

    def __init__(self, cells: Mapping[str, StateCell]) -> None:
        self.cells = dict(cells)

    def read_state(self, name: str) -> np.ndarray:
        """Return a copy of the state of that name.

        Raises
        ------
        UnknownNameError: when the model has no such state.
        """
        cell = self._cell(name)
        return to_numpy(cell.value, cell.dtype)

    def write_state(self, name: str, value: np.ndarray) -> None:
        """Replace the state of that name.

        Raises
        ------
        UnknownNameError: when the model has no such state.
        InputError: when the shape is not the state's.
        """
        cell = self._cell(name)
        array = np.asarray(value)
        if array.shape != tuple(cell.value.shape):
            raise InputError(f"state {name!r}: expected shape {tuple(cell.value.shape)}, got {array.shape}")
        cell.value = from_numpy(array, cell.dtype).to(cell.value.dtype, copy=True)

    def _cell(self, name: str) -> StateCell:
        if name not in self.cells:
            raise UnknownNameError("state", name, self.cells)
        return self.cells[name]
