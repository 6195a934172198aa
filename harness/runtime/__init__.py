"""Execute converted models through one protocol: load, predict, placement, timings.

=================  =================================================================================
``reference``      this project's interpreter, on any machine; its times say nothing about a device
``coreml``         Core ML on this Mac
``coreml-remote``  Core ML on an iPhone or iPad connected to this Mac
=================  =================================================================================
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from harness.errors import check_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np

    from harness.runtime.compute_plan import PlannedOp

    Arrays = Mapping[str, np.ndarray[Any, Any]]


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The model that an executor runs, and how it runs it."""

    package: str
    """Path of an ``.mlpackage``."""
    compute_units: str = "CPU_AND_NE"
    """Name of a ``ct.ComputeUnit``; the reference executor has no units."""
    function: str = ""
    """Function of a multifunction package; empty for its default function."""
    hints: dict[str, str | bool] = {}
    """Optimization hints (macOS 15), values by name: ``{"reshapeFrequency": "Infrequent"}``."""
    policy: str = "fp16"
    """Precision policy of the reference executor; Core ML decides by itself."""
    device: str = ""
    """Name of the connected device, for ``coreml-remote``."""


class Timings(msgspec.Struct, frozen=True):
    """Durations that the framework itself measured, in seconds; None if it measures none."""

    load_s: float | None = None
    predict_s: float | None = None
    """Duration of the last predict, without Python's share."""


class Executor(Protocol):
    """Runs one converted model."""

    name: str
    """The executor's name, shown in every row of a table so that ``reference`` is never mistaken for a device."""

    def load(self, announce: Callable[[str], None] = ...) -> dict[str, float]:
        """Prepare the model; announce each stage before it begins, and return the seconds of each by name."""

    def make_state(self) -> Any:
        """Return a new state, or None if the model has none."""

    def predict(self, inputs: Arrays, state: Any = None) -> dict[str, np.ndarray[Any, Any]]:
        """Return the outputs by name."""

    def placement(self) -> tuple[PlannedOp, ...]:
        """Return the ops in order with the device planned for each; empty if the executor plans none."""

    def timings(self) -> Timings:
        """Return the framework's durations of the last load and the last predict."""

    def close(self) -> None:
        """Release the executor's resources; it cannot be used afterwards."""


def ignore(_text: str) -> None:
    """Ignore an announcement."""


EXECUTORS = {
    "reference": "harness.runtime.reference:from_source",
    "coreml": "harness.runtime.coreml:CoreMLExecutor",
    "coreml-remote": "harness.runtime.remote:RemoteExecutor",
}
"""The function that makes each executor from a :class:`Source`, as module and name."""


def open_executor(name: str, source: Source) -> Executor:
    """Return an executor that has not loaded its model yet.

    Raises
    ------
    UnknownNameError: for an unknown executor.
    RuntimeUnavailableError: if it cannot run on this machine.
    """
    module, _, factory = EXECUTORS[check_name("executor", name, EXECUTORS)].partition(":")
    executor: Executor = getattr(importlib.import_module(module), factory)(source)
    return executor
