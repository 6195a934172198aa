"""Run Core ML on this Mac through coremltools.

Calls that only macOS can answer are in this module and nowhere else; the rest of the harness uses
:class:`harness.runtime.Executor`. The calls are public ones of coremltools. ``tests/harness/runtime`` checks each
against the installed coremltools' signatures, and runs them through coremltools' Python code with its native half
scripted.

Stages of a load
----------------
``cold_compile``   compiling the package to ``.mlmodelc``, into a new folder (``compile_model``)
``cold_load``      the first load of that folder, which compiles for the Neural Engine (``CompiledMLModel``)
``warm_load``      the second load of it
``load``           ``MLModel`` of the package, which predicts and reports the framework's own durations
"""

from __future__ import annotations

import platform
import tempfile
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import ExecutorError, RuntimeUnavailableError
from harness.runtime import Source, Timings, ignore
from harness.runtime.planned_ops import device_name, planned_ops
from harness.system.text import squeezed

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from harness.runtime import Arrays
    from harness.runtime.compute_plan import PlannedOp

HINTS = {"reshapeFrequency": "ReshapeFrequency", "specializationStrategy": "SpecializationStrategy"}
"""Optimization hints whose values are members of enumerations of coremltools."""


class CoreMLExecutor:
    """Runs a package in Core ML.

    Raises
    ------
    RuntimeUnavailableError: on another system than macOS, or if coremltools has no native half.
    """

    name = "coreml"

    def __init__(self, source: Source) -> None:
        check_available()
        self._source = source
        self._folder = tempfile.TemporaryDirectory(prefix="ane-harness-")
        self._model: Any = None

    def load(self, announce: Callable[[str], None] = ignore) -> dict[str, float]:
        """Compile, load cold, load warm, and load to predict.

        Raises
        ------
        ExecutorError: with Core ML's own reason.
        """
        seconds: dict[str, float] = {}

        def timed(stage: str, work: Callable[[], Any]) -> Any:
            announce(stage.replace("_", " "))
            begin = time.perf_counter()
            result = _refusals_raised(work)
            seconds[stage] = time.perf_counter() - begin
            return result

        self._model = None
        compiled = str(Path(tempfile.mkdtemp(dir=self._folder.name)) / "cold.mlmodelc")
        timed("cold_compile", lambda: compile_package(self._source.package, compiled))
        timed("cold_load", lambda: load_compiled(compiled, self._source))
        timed("warm_load", lambda: load_compiled(compiled, self._source))
        self._model = timed("load", lambda: load_package(self._source))
        return seconds

    def make_state(self) -> Any:
        """Return a new state (macOS 15), or None if the model has none."""
        description = self._loaded().get_spec().description
        name = self._source.function or description.defaultFunctionName
        described = next((one for one in description.functions if one.name == name), description)
        return self._loaded().make_state() if described.state else None

    def predict(self, inputs: Arrays, state: Any = None) -> dict[str, np.ndarray[Any, Any]]:
        """Return the outputs by name."""
        outputs: dict[str, np.ndarray[Any, Any]] = self._loaded().predict(dict(inputs), state)  # it edits its dict
        return outputs

    def placement(self) -> tuple[PlannedOp, ...]:
        """Return the ops of the function that runs, with the device planned for each."""
        plan = load_plan(self._loaded().get_compiled_model_path(), self._source.compute_units)
        return tuple(planned_ops(plan, self._source.function))

    def timings(self) -> Timings:
        """Return the framework's durations of the last load and the last predict."""
        model = self._loaded()
        return Timings(
            seconds(model.load_duration_in_nano_seconds), seconds(model.last_predict_duration_in_nano_seconds)
        )

    def close(self) -> None:
        """Release the model, and delete the compiled one."""
        self._model = None
        self._folder.cleanup()

    def _loaded(self) -> Any:
        if self._model is None:
            self.load()
        return self._model


# Calls that only macOS answers: one call of coremltools each ------------------------------------------------------


def check_available() -> None:
    """Raise unless Core ML is available here.

    Raises
    ------
    RuntimeUnavailableError: naming the missing part.
    """
    if platform.system() != "Darwin":
        raise RuntimeUnavailableError(
            f"Core ML needs macOS; this is {platform.system()}. The reference executor runs anywhere, but plans nothing"
        )
    try:
        import coremltools.libcoremlpython  # noqa: F401 - imported to test its presence
    except ImportError as error:
        raise RuntimeUnavailableError(
            f"coremltools has no Core ML runtime here ({error}): install its macOS wheel"
        ) from None


def compile_package(package: str, destination: str) -> None:
    """Compile a package into a new ``.mlmodelc`` folder."""
    from coremltools.models.utils import compile_model

    compile_model(package, destination_path=destination)


def load_compiled(compiled: str, source: Source) -> Any:
    """Load a ``.mlmodelc`` folder."""
    from coremltools.models import CompiledMLModel

    return CompiledMLModel(
        compiled,
        compute_units=compute_unit(source.compute_units),
        function_name=source.function or None,
        optimization_hints=optimization_hints(source),
    )


def load_package(source: Source) -> Any:
    """Load a package.

    Raises
    ------
    ExecutorError: if Core ML gives no model and coremltools no reason.
    """
    from coremltools.models import MLModel

    model = MLModel(
        source.package,
        compute_units=compute_unit(source.compute_units),
        function_name=source.function or None,
        optimization_hints=optimization_hints(source),
    )
    model.get_compiled_model_path()  # raises if the package is newer than this system
    return model


def load_plan(compiled: str, compute_units: str) -> Any:
    """Load the plan of a ``.mlmodelc`` folder (macOS 14.4)."""
    from coremltools.models.compute_plan import MLComputePlan

    return MLComputePlan.load_from_path(compiled, compute_units=compute_unit(compute_units))


def devices() -> list[str]:
    """Return the names of Core ML's devices here, of :data:`harness.runtime.compute_plan.DEVICES`."""
    from coremltools.models.compute_device import MLComputeDevice

    return sorted({device_name(device) for device in MLComputeDevice.get_all_compute_devices()})


def compute_unit(name: str) -> Any:
    """Return the ``ct.ComputeUnit`` of a name."""
    import coremltools as ct

    return ct.ComputeUnit[name]


def optimization_hints(source: Source) -> dict[str, Any] | None:
    """Return the hints in coremltools' form: members of its enumerations, and plain booleans."""
    import coremltools as ct

    if not source.hints:
        return None
    return {
        name: getattr(ct, HINTS[name])[str(value)] if name in HINTS else value for name, value in source.hints.items()
    }


def _refusals_raised(work: Callable[[], Any]) -> Any:
    """Run a function; raise an error for a model that Core ML will not load, of which coremltools only warns."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="You will not be able to run predict", category=RuntimeWarning)
            return work()
    except Exception as error:  # coremltools raises errors of every kind here, bare Exception among them
        raise ExecutorError(f"Core ML: {squeezed(error)}") from error


def seconds(nanoseconds: int | None) -> float | None:
    """Return a duration of Core ML in seconds; None stays None."""
    return None if nanoseconds is None else nanoseconds / 1e9
