"""States: reading yields the value of that moment, writing replaces it for every later read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.interpreter.registry import impl

if TYPE_CHECKING:
    from torch import Tensor

    from harness.interpreter.state import StateCell


@impl("read_state", moves=True)
def read_state(input: StateCell) -> Tensor:
    """Return the state's value."""
    return input.value


@impl("write_state", moves=True)
def write_state(input: StateCell, data: Tensor) -> tuple[()]:
    """Replace the state's value."""
    input.value = data.to(input.value.dtype)
    return ()


@impl("coreml_update_state", moves=True)
def coreml_update_state(state: StateCell, value: Tensor) -> Tensor:
    """Write, then read: the form the op has before it is serialised."""
    state.value = value.to(state.value.dtype)
    return state.value
