"""Executors of converted models, behind one protocol: load, predict, placement, timings.

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
    """What an executor is asked to run."""

    package: str
    """Path of an ``.mlpackage``."""
    compute_units: str = "CPU_AND_NE"
    """Name of a ``ct.ComputeUnit``; the reference executor has no units."""
    function: str = ""
    """Function of a multifunction package; empty for its default one."""
    hints: dict[str, str | bool] = {}
    """Optimization hints (macOS 15), values by name: ``{"reshapeFrequency": "Infrequent"}``."""
    policy: str = "fp16"
    """Precision policy of the reference executor; Core ML decides by itself."""
    device: str = ""
    """Name of the connected device, for ``coreml-remote``."""


class Timings(msgspec.Struct, frozen=True):
    """Durations that the framework itself measured, in seconds; None where it measures none."""

    load_s: float | None = None
    predict_s: float | None = None
    """The last predict's, without Python."""


class Executor(Protocol):
    """Runs one converted model."""

    name: str
    """Stands in every row of a table: ``reference`` is never a device."""

    def load(self, announce: Callable[[str], None] = ...) -> dict[str, float]:
        """Make the model ready; return the seconds of each stage by name, and announce each before it begins."""

    def make_state(self) -> Any:
        """Return a new state, or None where the model keeps none."""

    def predict(self, inputs: Arrays, state: Any = None) -> dict[str, np.ndarray[Any, Any]]:
        """Return the outputs by name."""

    def placement(self) -> tuple[PlannedOp, ...]:
        """Return the ops in order with the device planned for each; empty where nothing is planned."""

    def timings(self) -> Timings:
        """Return what the framework measured of the last load and the last predict."""

    def close(self) -> None:
        """Give back what the executor holds; it is of no use after that."""


def ignore(_text: str) -> None:
    """Announce nothing."""


EXECUTORS = {
    "reference": "harness.runtime.reference:from_source",
    "coreml": "harness.runtime.coreml:CoreMLExecutor",
    "coreml-remote": "harness.runtime.remote:RemoteExecutor",
}
"""Where each executor is made from a :class:`Source`."""


def open_executor(name: str, source: Source) -> Executor:
    """Return an executor that has not loaded its model yet.

    Raises
    ------
    UnknownNameError: for an unknown executor.
    RuntimeUnavailableError: where it cannot run on this machine.
    """
    module, _, factory = EXECUTORS[check_name("executor", name, EXECUTORS)].partition(":")
    executor: Executor = getattr(importlib.import_module(module), factory)(source)
    return executor
