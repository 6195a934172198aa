"""The executor of a connected device, on mocks made from coremltools' own remote device classes."""

from __future__ import annotations

from unittest import mock

import numpy as np
import pytest
from coremltools.models.ml_program.experimental import async_wrapper, remote_device
from coremltools.models.ml_program.experimental.remote_device import DeviceState, DeviceType

from harness.errors import ExecutorError, RuntimeUnavailableError
from harness.runtime import Source, open_executor, remote


def phone(name="Anna's iPhone", kind=DeviceType.IPHONE):
    """Return a device as ``devicectl`` lists one."""
    return remote_device.Device(
        name=name,
        type=kind,
        identifier="A1",
        udid="0001",
        os_version="18.4",
        os_build_number="22E240",
        developer_mode_state="enabled",
        state=DeviceState.CONNECTED,
        session=None,
    )


@pytest.fixture
def connected(monkeypatch):
    """Have devices connected; yield the mocked list of them."""
    monkeypatch.setattr("harness.runtime.coreml.check_available", lambda: None)
    devices = [phone()]
    with mock.patch.object(remote_device._DeviceCtl, "get_devices", autospec=True, side_effect=lambda: devices):
        yield devices


@pytest.fixture
def wrapper():
    """Stand for the model on the device; its constructor's and methods' signatures are coremltools' own."""
    made = mock.create_autospec(async_wrapper.RemoteMLModelAsyncWrapper, instance=True)
    made.predict.return_value = {"y": np.ones(3, np.float32)}
    made.last_predict_duration_in_nano_seconds = 700_000
    made.load_duration_in_nano_seconds = 2_000_000
    prepare = mock.patch.object(
        remote_device.Device, "prepare_for_model_debugging", autospec=True, side_effect=lambda self, **_: self
    )
    make = mock.patch.object(
        async_wrapper, "RemoteMLModelAsyncWrapper", autospec=async_wrapper.RemoteMLModelAsyncWrapper, return_value=made
    )
    with prepare as prepared, make as maker:
        yield made, prepared, maker


@pytest.fixture
def opened():
    """Open executors that are closed when the test is over."""
    executors = []

    def open_one(source):
        executors.append(open_executor("coreml-remote", source))
        return executors[-1]

    yield open_one
    for one in executors:
        one.close()


def test_off_macos_it_is_refused():
    with pytest.raises(RuntimeUnavailableError, match="needs macOS"):
        open_executor("coreml-remote", Source("on.mlpackage", device="phone"))


def test_it_installs_loads_predicts_and_tells_the_device_s_own_times(connected, wrapper, opened, monkeypatch):
    made, prepared, maker = wrapper
    monkeypatch.setenv(remote.TEAM, "TEAM42")
    executor = opened(Source("on.mlpackage", function="main", device="Anna's iPhone"))
    announced = []
    assert list(executor.load(announced.append)) == ["install", "load"]
    assert announced == ["install on Anna's iPhone", "load on Anna's iPhone"]
    assert prepared.call_args.kwargs["credentials"].development_team == "TEAM42"
    arguments = maker.call_args.kwargs
    assert (arguments["device"], arguments["function_name"]) == (connected[0], "main")
    made.load.assert_awaited_once_with()
    assert executor.predict({"x": np.zeros(3, np.float32)})["y"].tolist() == [1, 1, 1]
    assert executor.timings().predict_s == pytest.approx(0.0007)
    assert executor.make_state() is None
    with pytest.raises(ExecutorError, match="takes no state"):
        executor.predict({}, object())


def test_its_plan_is_read_like_the_mac_s(connected, wrapper, opened):
    made, _, _ = wrapper
    made.retrieve_compute_plan.return_value = mock.Mock(model_structure=mock.Mock(program=None))
    executor = opened(Source("on.mlpackage"))
    with pytest.raises(ExecutorError, match="no ML program"):
        executor.placement()
    made.retrieve_compute_plan.assert_awaited_once_with()


def test_what_xcode_s_tools_refuse_is_an_error_that_names_the_device(connected, wrapper, opened):
    wrapper[0].load.side_effect = ValueError("signing needs\na team")
    with pytest.raises(ExecutorError, match="Anna's iPhone: signing needs a team"):
        opened(Source("on.mlpackage")).load()


@pytest.mark.parametrize(
    ("name", "match"), [("other", "'other'; connected iPhones and iPads: Anna's iPhone, iPad"), ("", "no single")]
)
def test_the_device_must_be_one(connected, name, match):
    connected.append(phone("iPad", DeviceType.IPAD))
    with pytest.raises(RuntimeUnavailableError, match=match):
        remote.find_device(name)


def test_a_mac_without_devicectl_is_told_so(monkeypatch):
    monkeypatch.setattr("harness.runtime.coreml.check_available", lambda: None)
    with pytest.raises(RuntimeUnavailableError, match="cannot list connected devices"):
        remote.find_device("")


def test_an_environment_tells_the_device_s_system_and_build():
    assert remote.describe(phone()) == {"os": "iphone 18.4 (22E240)", "chip": "Anna's iPhone"}
    assert "AppSigningCredentials" in dir(remote_device)
    assert "MLModelAsyncWrapper" in dir(async_wrapper)
