"""The reference executor: MIL semantics on any machine. Its times say nothing about a device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.interpreter import ReferenceModel

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from harness.convert import Converted


class ReferenceExecutor:
    """Runs a converted model in the interpreter under a precision policy.

    Raises
    ------
    UnknownNameError: for an unknown policy.
    UnsupportedOpError: if the program holds an op the interpreter lacks.
    """

    name = "reference"

    def __init__(self, converted: Converted, policy: str) -> None:
        self._model = ReferenceModel(converted.model, precision=policy)

    def predict(self, inputs: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
        """Return the outputs by name."""
        return self._model.predict(dict(inputs))
