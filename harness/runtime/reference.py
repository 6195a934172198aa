"""Execute models by MIL semantics on any machine. The times of this executor say nothing about a device."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from harness.interpreter import ReferenceModel
from harness.interpreter.package import package_of
from harness.interpreter.program import walk
from harness.runtime import Source, Timings, ignore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    import numpy as np

    from harness.convert.conversion import Converted
    from harness.interpreter.core import Listener
    from harness.interpreter.program import Op
    from harness.runtime import Arrays
    from harness.runtime.compute_plan import PlannedOp


class ReferenceExecutor:
    """Runs a converted model in the interpreter under a precision policy.

    Parameters
    ----------
    converted: the model, or the path of its package.
    policy: name of a precision policy.
    function: the function of the model. Default: the model's default function.

    Raises
    ------
    UnknownNameError: from ``load``, for an unknown policy.
    UnsupportedOpError: from ``load``, if the program contains an op that the interpreter lacks.
    """

    name = "reference"

    def __init__(self, converted: Converted | Source, policy: str = "", function: str | None = None) -> None:
        if isinstance(converted, Source):
            self._from: Any = converted.package
            self._function: str | None = converted.function or None
            self._policy = policy or converted.policy
        else:
            self._from = package_of(converted.model, converted.kept) if converted.kept else converted.model
            self._function, self._policy = function, policy
        self._model: ReferenceModel | None = None

    def load(self, announce: Callable[[str], None] = ignore) -> dict[str, float]:
        """Read the program. It is neither compiled nor cached, so there is one stage."""
        announce("load")
        begin = time.perf_counter()
        self._model = ReferenceModel(self._from, self._policy, self._function)
        return {"load": time.perf_counter() - begin}

    def make_state(self) -> Any:
        """Return a new state, or None if the model has none."""
        model = self._loaded()
        return model.make_state() if model.function.states else None

    def predict(self, inputs: Arrays, state: Any = None) -> dict[str, np.ndarray[Any, Any]]:
        """Return the outputs by name."""
        return self._loaded().predict(dict(inputs), state)

    def listening(self, listener: Listener) -> AbstractContextManager[None]:
        """Call ``listener(op, inputs, outputs)`` after every op inside a ``with`` block."""
        return self._loaded().listening(listener)

    def operations(self) -> Iterator[Op]:
        """Yield the program's ops in their order, those of nested blocks included."""
        return walk(self._loaded().function.body)

    def placement(self) -> tuple[PlannedOp, ...]:
        """Return nothing, because the interpreter has no devices."""
        return ()

    def timings(self) -> Timings:
        """Return no durations, because no framework measures any."""
        return Timings()

    def close(self) -> None:
        """Release the program."""
        self._model = None

    def _loaded(self) -> ReferenceModel:
        if self._model is None:
            self.load()
        assert self._model is not None  # noqa: S101 - load sets it
        return self._model


def from_source(source: Source) -> ReferenceExecutor:
    """Return the executor for a package."""
    return ReferenceExecutor(source)
