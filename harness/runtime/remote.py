"""Run Core ML on an iPhone or iPad connected to this Mac, through coremltools' experimental remote device API.

coremltools builds a small app with Xcode, signs it, installs it on the device and communicates with it through
``devicectl``. It needs Xcode, a device in developer mode, and a development team for the signature:
``ANE_DEVELOPMENT_TEAM``. A predict's wall time is mostly the transfer; the meaningful time is the framework's own,
measured on the device. States are not available.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Any

from harness.errors import ExecutorError, RuntimeUnavailableError
from harness.runtime import Source, Timings, coreml, ignore
from harness.runtime.planned_ops import planned_ops
from harness.system.text import squeezed

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    import numpy as np

    from harness.runtime import Arrays
    from harness.runtime.compute_plan import PlannedOp

TEAM = "ANE_DEVELOPMENT_TEAM"
"""Environment variable that names the development team that signs the app."""


class RemoteExecutor:
    """Runs a package on a connected device.

    Raises
    ------
    RuntimeUnavailableError: on another system than macOS, or if no connected device has the name.
    """

    name = "coreml-remote"

    def __init__(self, source: Source) -> None:
        coreml.check_available()
        self._source = source
        self._loop = asyncio.new_event_loop()
        self._model: Any = None
        self.device = find_device(source.device)

    def load(self, announce: Callable[[str], None] = ignore) -> dict[str, float]:
        """Install the app, send the package and load it there.

        Raises
        ------
        ExecutorError: with coremltools' own reason.
        """
        seconds: dict[str, float] = {}
        for stage, work in (("install", self._install), ("load", self._open)):
            announce(f"{stage} on {self.device.name}")
            begin = time.perf_counter()
            self._wait(work())
            seconds[stage] = time.perf_counter() - begin
        return seconds

    def make_state(self) -> Any:
        """Return None, because the remote interface has no states."""

    def predict(self, inputs: Arrays, state: Any = None) -> dict[str, np.ndarray[Any, Any]]:
        """Return the outputs by name."""
        if state is not None:
            raise ExecutorError("a connected device takes no state")
        outputs: dict[str, np.ndarray[Any, Any]] = self._wait(self._loaded().predict(dict(inputs)))
        return outputs

    def placement(self) -> tuple[PlannedOp, ...]:
        """Return the ops with the device planned for each, as the connected device plans them."""
        plan = self._wait(self._loaded().retrieve_compute_plan())
        return tuple(planned_ops(plan, self._source.function))

    def timings(self) -> Timings:
        """Return the framework's durations on the device."""
        model = self._loaded()
        return Timings(
            coreml.seconds(model.load_duration_in_nano_seconds),
            coreml.seconds(model.last_predict_duration_in_nano_seconds),
        )

    def close(self) -> None:
        """Unload the model on the device."""
        if self._model is not None:
            self._wait(self._model.unload())
        self._loop.close()

    async def _install(self) -> None:
        from coremltools.models.ml_program.experimental.remote_device import AppSigningCredentials

        credentials = AppSigningCredentials(development_team=os.environ.get(TEAM, ""))
        self.device = await self.device.prepare_for_model_debugging(credentials=credentials)

    async def _open(self) -> None:
        from coremltools.models.ml_program.experimental.async_wrapper import MLModelAsyncWrapper

        self._model = MLModelAsyncWrapper.from_spec_or_path(
            spec_or_path=self._source.package,
            weights_dir="",  # read only with a specification
            compute_units=coreml.compute_unit(self._source.compute_units),
            function_name=self._source.function or None,
            optimization_hints=coreml.optimization_hints(self._source),
            device=self.device,
        )
        await self._model.load()

    def _loaded(self) -> Any:
        if self._model is None:
            self.load()
        return self._model

    def _wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        try:
            return self._loop.run_until_complete(work)
        except Exception as error:  # coremltools raises errors of every kind here, those of Xcode's tools among them
            raise ExecutorError(f"{self.device.name}: {squeezed(error)}") from error


def find_device(name: str) -> Any:
    """Return the connected iPhone or iPad of that name; for an empty name, the only connected one.

    Raises
    ------
    RuntimeUnavailableError: naming the connected devices.
    """
    from coremltools.models.ml_program.experimental.remote_device import Device, DeviceType

    try:
        found = [
            device
            for kind in (DeviceType.IPHONE, DeviceType.IPAD)
            for device in Device.get_connected_devices(device_type=kind)
        ]
    except Exception as error:  # devicectl is missing, or refuses
        raise RuntimeUnavailableError(f"cannot list connected devices: {squeezed(error)}") from error
    chosen = [device for device in found if name in ("", device.name, device.udid)]
    if len(chosen) != 1:
        names = ", ".join(device.name for device in found) or "none"
        raise RuntimeUnavailableError(f"no single connected device {name!r}; connected iPhones and iPads: {names}")
    return chosen[0]


def describe(device: Any) -> dict[str, str]:
    """Return the environment fields of a record that describe the device, not the Mac: system with build, and kind."""
    return {"os": f"{device.type.value} {device.os_version} ({device.os_build_number})", "chip": device.name}
