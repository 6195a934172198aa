"""The reference executor: MIL semantics on any machine. Its times say nothing about a device."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from harness.interpreter import ReferenceModel
from harness.runtime import Source, Timings, ignore

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    import numpy as np

    from harness.convert.conversion import Converted
    from harness.interpreter.core import Listener
    from harness.runtime import Arrays
    from harness.runtime.compute_plan import PlannedOp


class ReferenceExecutor:
    """Runs a converted model in the interpreter under a precision policy.

    Parameters
    ----------
    converted: the model, or where its package is.
    policy: name of a precision policy.
    function: which function of the model. Default: its own default.

    Raises
    ------
    UnknownNameError: from ``load``, for an unknown policy.
    UnsupportedOpError: from ``load``, if the program holds an op the interpreter lacks.
    """

    name = "reference"

    def __init__(self, converted: Converted | Source, policy: str = "", function: str | None = None) -> None:
        if isinstance(converted, Source):
            self._from: Any = converted.package
            self._function: str | None = converted.function or None
            self._policy = policy or converted.policy
        else:
            self._from, self._function, self._policy = converted.model, function, policy
        self._model: ReferenceModel | None = None

    def load(self, announce: Callable[[str], None] = ignore) -> dict[str, float]:
        """Read the program; it is neither compiled nor cached, so there is one stage."""
        announce("load")
        begin = time.perf_counter()
        self._model = ReferenceModel(self._from, self._policy, self._function)
        return {"load": time.perf_counter() - begin}

    def make_state(self) -> Any:
        """Return a new state, or None where the model keeps none."""
        model = self._loaded()
        return model.make_state() if model.function.states else None

    def predict(self, inputs: Arrays, state: Any = None) -> dict[str, np.ndarray[Any, Any]]:
        """Return the outputs by name."""
        return self._loaded().predict(dict(inputs), state)

    def listening(self, listener: Listener) -> AbstractContextManager[None]:
        """Call ``listener(op, inputs, outputs)`` after every op for as long as the context lasts."""
        return self._loaded().listening(listener)

    def placement(self) -> tuple[PlannedOp, ...]:
        """Return nothing: there are no devices to place an op on."""
        return ()

    def timings(self) -> Timings:
        """Return nothing: no framework measures."""
        return Timings()

    def close(self) -> None:
        """Let go of the program."""
        self._model = None

    def _loaded(self) -> ReferenceModel:
        if self._model is None:
            self.load()
        assert self._model is not None  # noqa: S101 - load sets it
        return self._model


def from_source(source: Source) -> ReferenceExecutor:
    """Return the executor of a package."""
    return ReferenceExecutor(source)
