"""Core ML's side of coremltools, scripted: what ``libcoremlpython`` offers on a Mac, below coremltools' own Python.

Every package answers by its script, found by its name in the JSON file that the environment variable
``COREML_SCRIPT`` names (``*`` is for all others):

``predict_s``, ``framework_s``, ``load_s``, ``compile_s``   how long things take
``outputs``    ``right`` (the reference executor's values), ``zeros``, ``nan`` or ``noise``
``devices``    device by op type; ``*`` for all others; None for "Core ML does not say"
``readings``   under ``machine``: the machine's state at each reading, the last one from then on
``at``         what happens at an event (``compile``, ``load 1``, ``load 2`` ..., ``predict 1`` ..., ``plan``):
               ``kill``, ``abort``, ``hang``, ``raise TEXT`` or ``stderr TEXT``

No number of it is a measurement: what it makes carries the executor name ``scripted``, which the store refuses.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import types
from pathlib import Path

import numpy as np

VARIABLE = "COREML_SCRIPT"
MACOS = (15, 4)


def script(name):
    """Return the script of a package; ``*`` is that of all others."""
    scripts = json.loads(Path(os.environ[VARIABLE]).read_text(encoding="utf-8"))
    return {**scripts.get("*", {}), **scripts.get(name, {})}


def happen(lines, event):
    """Do what the script has for an event."""
    what, _, text = lines.get("at", {}).get(event, "").partition(" ")
    if what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif what == "abort":
        print("libc++abi: terminating due to uncaught exception", file=sys.stderr, flush=True)  # noqa: T201
        os.abort()
    elif what == "hang":
        ctypes.PyDLL(None).sleep(3600)  # holds the interpreter's lock, as native code may
    elif what == "raise":
        raise RuntimeError(text)
    elif what == "stderr":
        os.write(2, text.encode() + b"\n")


class _MLModelProxy:
    """A loaded model."""

    loads: dict[str, int] = {}  # noqa: RUF012 - counted over the process

    def __init__(self, path, compute_units, function_name, optimization_hints, asset):
        assert (isinstance(compute_units, str), isinstance(function_name, str), asset) == (True, True, None)
        assert all(isinstance(value, str) for value in optimization_hints.values())
        self.package = Path((Path(path) / "package.txt").read_text()) if path.endswith(".mlmodelc") else Path(path)
        self.script = script(self.package.stem)
        self.predicts, self.last, self.function, self._outputs = 0, None, function_name, None
        self.loads[self.package.stem] = number = self.loads.get(self.package.stem, 0) + 1
        happen(self.script, f"load {number}")
        time.sleep(self.script.get("load_s", 0))

    @staticmethod
    def maximum_supported_specification_version():
        return 10

    @staticmethod
    def compileModel(path):
        lines = script(Path(path).stem)
        happen(lines, "compile")
        time.sleep(lines.get("compile_s", 0))
        compiled = Path(tempfile.mkdtemp()) / "model.mlmodelc"
        compiled.mkdir()
        (compiled / "package.txt").write_text(path)
        return str(compiled)

    def get_compiled_model_path(self):
        return self.compileModel(str(self.package))

    def get_load_duration_in_nano_seconds(self):
        return int(self.script.get("load_s", 0) * 1e9)

    def get_last_predict_duration_in_nano_seconds(self):
        return self.last

    def newState(self):
        return types.SimpleNamespace()

    def predict(self, data, _state):
        self.predicts += 1
        happen(self.script, f"predict {self.predicts}")
        time.sleep(self.script.get("predict_s", 0))
        self.last = int(self.script.get("framework_s", self.script.get("predict_s", 0)) * 1e9)
        if self._outputs is None:
            self._outputs = self._compute(data)
        return self._outputs

    def _compute(self, data):
        from harness.interpreter import ReferenceModel

        model = ReferenceModel(self.package, "fp16", self.function or None)
        right = model.predict(data, model.make_state() if model.function.states else None)
        generator = np.random.default_rng(0)
        alter = {
            "right": lambda value: value,
            "zeros": np.zeros_like,
            "nan": lambda value: np.full_like(value, np.nan),
            "noise": lambda value: generator.standard_normal(value.shape).astype(value.dtype),
        }[self.script.get("outputs", "right")]
        return {name: alter(value) for name, value in right.items()}

    @staticmethod
    def get_compute_plan(path, compute_units):
        from coremltools.models.compute_plan import MLComputePlan

        package = Path((Path(path) / "package.txt").read_text())
        lines = script(package.stem)
        happen(lines, "plan")
        return MLComputePlan(_MLComputePlanProxy(package, lines.get("devices", {}), compute_units))

    @staticmethod
    def get_all_compute_devices():
        return [device("cpu"), device("ane")]


class _MLComputePlanProxy:
    """The plan of a package: its ops, read from the package, on the devices of the script."""

    def __init__(self, package, devices, compute_units):
        import coremltools as ct
        from coremltools.models import compute_plan as kinds

        spec = ct.models.MLModel(str(package), skip_model_load=True).get_spec()
        self.devices = devices if compute_units != "CPU_ONLY" else {"*": "cpu"}
        functions = {
            name: kinds.MLModelStructureProgramFunction(
                [], self._block(kinds, next(iter(function.block_specializations.values())))
            )
            for name, function in spec.mlProgram.functions.items()
        }
        self.model_structure = kinds.MLModelStructure(None, kinds.MLModelStructureProgram(functions), None)
        first = next(iter(functions.values()))
        self.count = sum(self._type(op) != "const" for op in first.block.operations)

    def _block(self, kinds, block):
        return kinds.MLModelStructureProgramBlock(
            inputs=[],
            operations=[
                kinds.MLModelStructureProgramOperation(
                    inputs={
                        name: kinds.MLModelStructureProgramArgument(
                            [kinds.MLModelStructureProgramBinding(one.name or None, None) for one in argument.arguments]
                        )
                        for name, argument in op.inputs.items()
                    },
                    operator_name=f"ios17.{op.type}" if op.type != "const" else "const",
                    outputs=[kinds.MLModelStructureProgramNamedValueType(one.name, None) for one in op.outputs],
                    blocks=[self._block(kinds, inner) for inner in op.blocks],
                    __proxy__=None,
                )
                for op in block.operations
            ],
            output_names=list(block.outputs),
        )

    @staticmethod
    def _type(op):
        return op.operator_name.rpartition(".")[2]

    def get_compute_device_usage_for_mlprogram_operation(self, operation):
        from coremltools.models.compute_plan import MLComputePlanDeviceUsage

        where = self.devices.get(self._type(operation), self.devices.get("*", "ane"))
        if where is None:
            return None
        return MLComputePlanDeviceUsage(device(where), [device("cpu"), device(where)])

    def get_estimated_cost_for_mlprogram_operation(self, _operation):
        from coremltools.models.compute_plan import MLComputePlanCost

        return MLComputePlanCost(1 / self.count)


class _MLCPUComputeDeviceProxy:
    pass


class _MLGPUComputeDeviceProxy:
    pass


class _MLNeuralEngineComputeDeviceProxy:
    def get_total_core_count(self):
        return 16


class _MLModelAssetProxy:
    pass


def device(name):
    """Return one of coremltools' device objects."""
    from coremltools.models import compute_device as kinds

    kind, proxy = {
        "cpu": (kinds.MLCPUComputeDevice, _MLCPUComputeDeviceProxy),
        "gpu": (kinds.MLGPUComputeDevice, _MLGPUComputeDeviceProxy),
        "ane": (kinds.MLNeuralEngineComputeDevice, _MLNeuralEngineComputeDeviceProxy),
    }[name]
    return kind(proxy())


PROXIES = (
    _MLModelProxy,
    _MLModelAssetProxy,
    _MLComputePlanProxy,
    _MLCPUComputeDeviceProxy,
    _MLGPUComputeDeviceProxy,
    _MLNeuralEngineComputeDeviceProxy,
)


def install(setattr_=setattr, setitem=dict.__setitem__):
    """Put the scripted half under coremltools, and have it believe that this is a Mac."""
    import coremltools  # noqa: F401 - patched below, wherever it took these names
    from coremltools.models import _compiled_model, compute_device, compute_plan, model, utils

    native = types.ModuleType("coremltools.libcoremlpython")
    for proxy in PROXIES:
        setattr(native, proxy.__name__, proxy)
    setitem(sys.modules, native.__name__, native)
    for module in (_compiled_model, compute_device, compute_plan, model):
        for proxy in PROXIES:
            if hasattr(module, proxy.__name__):
                setattr_(module, proxy.__name__, proxy)
    for module in (_compiled_model, model, utils):
        for name, answer in (("_is_macos", lambda: True), ("_macos_version", lambda: MACOS)):
            if hasattr(module, name):
                setattr_(module, name, answer)

    from harness.runtime import coreml

    setattr_(coreml.platform, "system", lambda: "Darwin")


def clear_compiled():
    """Forget how often each package was loaded."""
    _MLModelProxy.loads.clear()


def package(path, lowering="", width=64, tokens=4):
    """Save a package of two norms with a multiplication between, plain or lowered."""
    import coremltools as ct
    from coremltools.converters.mil.mil import Builder as mb

    import ane_rms

    gamma = np.random.default_rng(3).uniform(0.5, 1.5, width).astype(np.float32)
    weight = np.random.default_rng(4).standard_normal((width, width)).astype(np.float32) / width**0.5

    def norm(x, name):
        root = mb.rsqrt(x=mb.add(x=mb.reduce_mean(x=mb.square(x=x), axes=[-1], keep_dims=True), y=np.float32(1e-5)))
        return mb.mul(x=mb.mul(x=x, y=root), y=gamma, name=name)

    @mb.program(input_specs=[mb.TensorSpec((1, tokens, width))], opset_version=ct.target.iOS17)
    def program(x):
        return norm(mb.linear(x=norm(x, "first"), weight=weight), "second")

    options = {
        "compute_units": ct.ComputeUnit.CPU_AND_NE,
        "minimum_deployment_target": ct.target.iOS17,
        "skip_model_load": True,
        "convert_to": "mlprogram",
    }
    model = ane_rms.convert(program, lowering=lowering, **options) if lowering else ct.convert(program, **options)
    model.save(str(path))
    shutil.rmtree(model.package_path, ignore_errors=True)
    return path
