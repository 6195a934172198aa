"""The Core ML executor over coremltools' own Python, its native half scripted; each call held against signatures."""

from __future__ import annotations

import ast
import inspect
import json
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from harness.errors import ExecutorError, RuntimeUnavailableError
from harness.runtime import Source, coreml, open_executor, planned_ops
from tests.scripted import native

pytestmark = pytest.mark.filterwarnings("ignore:You will not be able to run predict:RuntimeWarning")


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    return str(native.package(tmp_path_factory.mktemp("coreml") / "on.mlpackage", "layer_norm"))


@pytest.fixture
def scripted(monkeypatch, tmp_path):
    """Put the scripted runtime under coremltools; return a function that sets the script."""
    native.clear_compiled()
    native.install(monkeypatch.setattr, monkeypatch.setitem)
    path = tmp_path / "script.json"
    monkeypatch.setenv(native.VARIABLE, str(path))
    return lambda **lines: path.write_text(json.dumps({"*": lines}))


@pytest.fixture
def opened():
    """Open executors that are closed when the test is over."""
    executors = []

    def open_one(source):
        executors.append(open_executor("coreml", source))
        return executors[-1]

    yield open_one
    for one in executors:
        one.close()


def data():
    return {"x": np.linspace(-1, 1, 256, dtype=np.float32).reshape(1, 4, 64)}


def test_off_macos_it_is_refused_in_one_line(package):
    with pytest.raises(RuntimeUnavailableError, match="Core ML needs macOS; this is Linux"):
        open_executor("coreml", Source(package))


def test_a_mac_without_the_native_half_is_told_what_to_install(monkeypatch):
    monkeypatch.setattr(coreml.platform, "system", lambda: "Darwin")
    with pytest.raises(RuntimeUnavailableError, match="install its macOS wheel"):
        coreml.check_available()


def test_load_tells_its_stages_apart(package, scripted, opened):
    scripted(compile_s=0.04, load_s=0.02)
    announced = []
    stages = opened(Source(package)).load(announced.append)
    assert list(stages) == ["cold_compile", "cold_load", "warm_load", "load"]
    assert announced == ["cold compile", "cold load", "warm load", "load"]
    assert stages["cold_compile"] >= 0.04
    assert 0.02 <= stages["cold_load"] < 0.04


def test_predict_and_the_framework_s_durations(package, scripted, opened):
    scripted(load_s=0.01, predict_s=0.002, framework_s=0.0015)
    executor = opened(Source(package))
    inputs = {"x": data()["x"].astype(np.float16)}
    outputs = executor.predict(inputs)
    assert next(iter(outputs.values())).shape == (1, 4, 64)
    assert executor.timings().predict_s == pytest.approx(0.0015)
    assert executor.timings().load_s == pytest.approx(0.01)
    assert inputs["x"].dtype == np.float16, "coremltools edits the dict it is given; ours must stay"


def test_each_op_has_its_planned_device_and_cost(package, scripted, opened):
    scripted(devices={"layer_norm": "ane", "linear": "gpu", "cast": None, "*": "cpu"})
    ops = opened(Source(package)).placement()
    places = {op.op_type: op.preferred for op in ops}
    assert (places["layer_norm"], places["linear"], places["concat"]) == ("ane", "gpu", "cpu")
    assert all(op.op_type != "const" for op in ops)
    assert sum(op.cost for op in ops) == pytest.approx(1)
    assert next(op for op in ops if op.op_type == "linear").supported == ("cpu", "gpu")


@pytest.mark.parametrize(("event", "match"), [("compile", "no space"), ("load 1", "no space"), ("load 3", "no space")])
def test_a_load_that_core_ml_refuses_is_an_error_with_its_reason(package, scripted, event, match, opened):
    scripted(at={event: "raise no space"})
    with pytest.raises(ExecutorError, match=match):
        opened(Source(package)).load()


def test_a_package_newer_than_the_system_is_an_error(package, scripted, monkeypatch, opened):
    monkeypatch.setattr(native._MLModelProxy, "maximum_supported_specification_version", staticmethod(lambda: 1))
    scripted()
    with pytest.raises(ExecutorError, match="not loaded or compiled"):
        opened(Source(package)).load()


def test_hints_are_members_of_coremltools_enumerations(package, scripted, opened):
    import coremltools as ct

    hints = {
        "reshapeFrequency": "Infrequent",
        "specializationStrategy": "FastPrediction",
        "allowLowPrecisionAccumulationOnGPU": True,
    }
    assert coreml.optimization_hints(Source(package, hints=hints)) == {
        "reshapeFrequency": ct.ReshapeFrequency.Infrequent,
        "specializationStrategy": ct.SpecializationStrategy.FastPrediction,
        "allowLowPrecisionAccumulationOnGPU": True,
    }
    scripted()
    opened(Source(package, hints=hints)).load()


def test_devices_have_short_names(scripted):
    assert coreml.devices() == ["ane", "cpu"]
    assert planned_ops.device_name(object()) == "unknown"


@pytest.fixture(scope="module")
def stateful(tmp_path_factory):
    """Save a package of two functions, one of which counts in a state."""
    import coremltools as ct
    from coremltools.converters.mil.mil import Builder as mb
    from coremltools.converters.mil.mil import types

    @mb.program(
        input_specs=[mb.TensorSpec((2,), types.fp16), mb.StateTensorSpec((2,), types.fp16)],
        opset_version=ct.target.iOS18,
    )
    def program(x, kept):
        now = mb.add(x=x, y=mb.read_state(input=kept))
        return mb.coreml_update_state(state=kept, value=now)

    path = tmp_path_factory.mktemp("stateful") / "counting.mlpackage"
    ct.convert(program, minimum_deployment_target=ct.target.iOS18, skip_model_load=True).save(str(path))
    both = path.parent / "both.mlpackage"
    description = ct.utils.MultiFunctionDescriptor()
    description.add_function(str(path), "main", "decode")
    description.add_function(str(path), "main", "prefill")
    description.default_function_name = "decode"
    ct.utils.save_multifunction(description, str(both))
    return {"one": str(path), "both": str(both)}


@pytest.mark.parametrize(("which", "function"), [("one", ""), ("both", ""), ("both", "prefill")])
def test_states_and_functions(stateful, scripted, which, function, opened):
    scripted()
    executor = opened(Source(stateful[which], function=function))
    state = executor.make_state()
    assert state is not None
    outputs = executor.predict({"x": np.ones(2, np.float16)}, state)
    assert [value.tolist() for value in outputs.values()] == [[1.0, 1.0]]


def test_a_model_without_states_has_none(package, scripted, opened):
    scripted()
    assert opened(Source(package)).make_state() is None


# Signatures ---------------------------------------------------------------------------------------------------------


def test_every_call_fits_the_installed_coremltools(package):
    """Call the macOS functions on mocks made from coremltools' real objects: a renamed argument fails here."""
    import coremltools as ct

    source = Source(package, function="main")
    with (
        mock.patch("coremltools.models.utils.compile_model", autospec=True) as compile_model,
        mock.patch("coremltools.models.CompiledMLModel", autospec=True, spec_set=True) as compiled,
        mock.patch("coremltools.models.MLModel", autospec=True, spec_set=True) as model,
        mock.patch("coremltools.models.compute_plan.MLComputePlan", autospec=True, spec_set=True) as plan,
        mock.patch("coremltools.models.compute_device.MLComputeDevice", autospec=True, spec_set=True) as device,
    ):
        coreml.compile_package(package, "cold.mlmodelc")
        coreml.load_compiled("cold.mlmodelc", source)
        loaded = coreml.load_package(source)
        coreml.load_plan("cold.mlmodelc", "CPU_AND_NE")
        device.get_all_compute_devices.return_value = []
        assert coreml.devices() == []
        loaded.predict({}, None)
        loaded.make_state()
    compile_model.assert_called_once_with(package, destination_path="cold.mlmodelc")
    units = {"compute_units": ct.ComputeUnit.CPU_AND_NE}
    compiled.assert_called_once_with("cold.mlmodelc", function_name="main", optimization_hints=None, **units)
    model.assert_called_once_with(package, function_name="main", optimization_hints=None, **units)
    plan.load_from_path.assert_called_once_with("cold.mlmodelc", **units)


def test_what_the_executor_reads_of_coremltools_objects_exists():
    import coremltools as ct
    from coremltools.models import compute_device, compute_plan

    for name in ("load_duration_in_nano_seconds", "last_predict_duration_in_nano_seconds"):
        assert isinstance(inspect.getattr_static(ct.models.MLModel, name), property)
    plan = compute_plan.MLComputePlan
    operation = object()
    for name in ("get_compute_device_usage_for_mlprogram_operation", "get_estimated_cost_for_mlprogram_operation"):
        inspect.signature(getattr(plan, name)).bind(plan, operation)
    assert isinstance(inspect.getattr_static(plan, "model_structure"), property)
    fields = {
        compute_plan.MLModelStructure: {"program"},
        compute_plan.MLModelStructureProgram: {"functions"},
        compute_plan.MLModelStructureProgramFunction: {"block"},
        compute_plan.MLModelStructureProgramBlock: {"operations"},
        compute_plan.MLModelStructureProgramOperation: {"operator_name", "inputs", "outputs", "blocks"},
        compute_plan.MLModelStructureProgramArgument: {"bindings"},
        compute_plan.MLModelStructureProgramBinding: {"name"},
        compute_plan.MLModelStructureProgramNamedValueType: {"name"},
        compute_plan.MLComputePlanDeviceUsage: {"preferred_compute_device", "supported_compute_devices"},
        compute_plan.MLComputePlanCost: {"weight"},
    }
    for kind, names in fields.items():
        assert names <= set(kind.__dataclass_fields__), kind
    for name in planned_ops.DEVICE_NAMES:
        assert issubclass(getattr(compute_device, name), compute_device.MLComputeDevice)


@pytest.mark.parametrize("module", ["coreml", "remote"])
def test_no_call_of_coremltools_escapes_these_tests(module):
    """Whatever the module imports from coremltools is named in this file or in that of the remote executor."""
    tree = ast.parse(Path(coreml.__file__).with_name(f"{module}.py").read_text(encoding="utf-8"))
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("coremltools")
        for alias in node.names
    }
    text = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    assert imported
    assert not {name for name in imported if name not in text}
