"""Programs from live objects and from packages, and what is wrong with a package."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import coremltools as ct
import numpy as np
import pytest
import torch
from coremltools.converters.mil.mil import Builder as mb
from coremltools.converters.mil.mil import types

from harness.errors import ExecutorError, PackageError, UnknownNameError
from harness.interpreter import ReferenceModel
from harness.interpreter.blobs import BlobFile
from harness.interpreter.dtypes import dtype_named
from harness.interpreter.program import Constant, Ref, walk

if TYPE_CHECKING:
    from harness.interpreter.program import Program

FP32_REL_L2 = 1e-6  # a few dozen float32 ops
FP16_REL_L2 = 3e-3  # as many roundings of 2**-11


class Block(torch.nn.Module):
    """RMSNorm with gamma, attention-like mixing, and a gated MLP: the ops of a decoder layer."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.gamma = torch.nn.Parameter(torch.rand(32, generator=generator) + 0.5)
        self.up, self.gate, self.down = (torch.nn.Linear(32, 32, bias=i == 2) for i in range(3))
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``[1, T, 32]`` for ``[1, T, 32]``."""
        h = self.gamma * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))
        scores = torch.softmax(h @ h.transpose(-1, -2) / 32**0.5, -1) @ h
        return x + self.down(torch.nn.functional.silu(self.gate(scores)) * self.up(scores))


@pytest.fixture(scope="module")
def block() -> Any:
    """Return the module, an input, and the module's result in float64."""
    module = Block().eval()
    x = torch.randn(1, 6, 32, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        return module, x, module.double()(x.double()).numpy(), module.float()


def convert(block: Any, precision: Any, target: Any = ct.target.iOS18, **kwargs: Any) -> Any:
    """Convert the block with coremltools."""
    traced = torch.jit.trace(block[3], block[1])
    shape = kwargs.pop("shape", tuple(block[1].shape))
    return ct.convert(
        traced,
        inputs=[ct.TensorType("x", shape)],
        minimum_deployment_target=target,
        compute_precision=precision,
        **{"skip_model_load": True, **kwargs},
    )


def rel_l2(result: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(result.astype(np.float64) - expected) / np.linalg.norm(expected))


@pytest.fixture(scope="module")
def package(block: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the path of a saved float16 package."""
    path = tmp_path_factory.mktemp("package") / "block.mlpackage"
    convert(block, ct.precision.FLOAT16).save(str(path))
    return path


@pytest.fixture
def copy(package: Path, tmp_path: Path) -> Path:
    """Return a copy of the package to damage."""
    return Path(shutil.copytree(package, tmp_path / "damaged.mlpackage"))


@pytest.mark.parametrize("target", [ct.target.iOS15, ct.target.iOS16, ct.target.iOS17, ct.target.iOS18])
@pytest.mark.parametrize(
    ("precision", "policy", "tolerance"),
    [(ct.precision.FLOAT32, "fp32", FP32_REL_L2), (ct.precision.FLOAT16, "fp16", FP16_REL_L2)],
)
def test_a_decoder_block_agrees_with_torch(
    block: Any, target: Any, precision: Any, policy: str, tolerance: float
) -> None:
    _, x, expected, _ = block
    for model in (
        convert(block, precision, target),
        convert(block, precision, target, convert_to="milinternal", skip_model_load=False),
    ):
        (result,) = ReferenceModel(model, policy).predict({"x": x.numpy()}).values()
        assert rel_l2(result, expected) < tolerance


def test_package_and_object_and_program_agree_exactly(block: Any, package: Path) -> None:
    x = {"x": block[1].numpy()}
    model = convert(block, ct.precision.FLOAT16)
    results = [
        next(iter(ReferenceModel(source, "fp16").predict(x).values()))
        for source in (package, str(package), model, model._mil_program)
    ]
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


def _constants(program: Program) -> list[Constant]:
    return [
        argument
        for op in walk(program.functions["main"].body)
        for argument in op.inputs.values()
        if isinstance(argument, Constant)
    ]


def test_large_constants_are_mapped_and_shared(tmp_path: Path) -> None:
    weight = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)

    @mb.program(input_specs=[mb.TensorSpec((2, 64))])
    def prog(x: Any) -> Any:
        const = mb.const(val=weight)
        return mb.matmul(x=mb.matmul(x=x, y=const), y=const)

    ct.convert(prog, compute_precision=ct.precision.FLOAT32, skip_model_load=True).save(str(tmp_path / "m.mlpackage"))
    program = ReferenceModel(tmp_path / "m.mlpackage").program
    first, second = [c for c in _constants(program) if isinstance(c.value, torch.Tensor) and c.value.numel() > 64]
    assert first is second
    blobs = BlobFile(tmp_path / "m.mlpackage" / "Data" / "com.apple.CoreML" / "weights" / "weight.bin")
    view = blobs.read(64, dtype_named("fp32"), (64, 64))
    assert np.shares_memory(view, blobs.map)
    np.testing.assert_array_equal(view, weight)
    np.testing.assert_array_equal(first.value.numpy(), weight)


def test_a_multifunction_package_runs_the_function_asked_for(tmp_path: Path) -> None:
    def scaling(factor: float) -> Any:
        @mb.program(input_specs=[mb.TensorSpec((2,))], opset_version=ct.target.iOS18)
        def prog(x: Any) -> Any:
            return mb.mul(x=x, y=factor, name="y")

        return prog

    for name, factor in (("double", 2.0), ("triple", 3.0)):
        ct.convert(scaling(factor), minimum_deployment_target=ct.target.iOS18, skip_model_load=True).save(
            str(tmp_path / f"{name}.mlpackage")
        )
    descriptor = ct.utils.MultiFunctionDescriptor()
    descriptor.add_function(str(tmp_path / "double.mlpackage"), "main", "double")
    descriptor.add_function(str(tmp_path / "triple.mlpackage"), "main", "triple")
    descriptor.default_function_name = "double"
    ct.utils.save_multifunction(descriptor, str(tmp_path / "both.mlpackage"))
    both = tmp_path / "both.mlpackage"
    x = {"x": np.array([1.0, -2.0], np.float32)}
    assert ReferenceModel(both).predict(x)["y"].tolist() == [2.0, -4.0]
    assert ReferenceModel(both, function_name="triple").predict(x)["y"].tolist() == [3.0, -6.0]
    with pytest.raises(UnknownNameError, match=r"unknown function 'tripel'. Did you mean triple"):
        ReferenceModel(both, function_name="tripel")


def test_names_that_repeat_before_the_pipeline_are_told_apart() -> None:
    @mb.program(input_specs=[mb.TensorSpec((2,))])
    def prog(x: Any) -> Any:
        first = mb.add(x=x, y=1.0, name="same")
        second = mb.mul(x=first, y=3.0, name="other")
        return mb.sub(x=second, y=first, name="out")

    for op in prog.functions["main"].operations:
        for var in op.outputs:
            var.name = var.name.replace("other", "same")
    (result,) = ReferenceModel(prog).predict({"x": np.array([1.0, 2.0])}).values()
    np.testing.assert_array_equal(result, [4.0, 6.0])


def test_a_value_that_is_input_and_output() -> None:
    @mb.program(input_specs=[mb.TensorSpec((2,))])
    def prog(x: Any) -> Any:
        return x, mb.add(x=x, y=1.0, name="y")

    result = ReferenceModel(prog).predict({"x": np.array([1.0, 2.0], np.float32)})
    assert {name: value.tolist() for name, value in result.items()} == {"x": [1.0, 2.0], "y": [2.0, 3.0]}
    assert isinstance(ReferenceModel(prog).program.functions["main"].body.outputs[0], Ref)


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 6, 8])
def test_sub_byte_weights_are_unpacked(tmp_path: Path, bits: int) -> None:
    indices = np.random.default_rng(bits).integers(0, 2**bits, size=(16, 40))
    lut = np.arange(2**bits, dtype=np.float16).reshape(1, 1, -1, 1)

    @mb.program(input_specs=[mb.TensorSpec((40,), dtype=types.fp16)], opset_version=ct.target.iOS18)
    def prog(x: Any) -> Any:
        dtype = types.nptype_from_builtin(types.string_to_builtin(f"uint{bits}"))
        weight = mb.constexpr_lut_to_dense(indices=indices.astype(dtype), lut=lut)
        return mb.linear(x=x, weight=weight)

    ct.convert(prog, minimum_deployment_target=ct.target.iOS18, skip_model_load=True).save(
        str(tmp_path / "m.mlpackage")
    )
    (result,) = ReferenceModel(tmp_path / "m.mlpackage").predict({"x": np.eye(40)[3]}).values()
    np.testing.assert_array_equal(result, indices[:, 3])


def test_a_missing_package(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match=r"nothing.mlpackage: no such package"):
        ReferenceModel(tmp_path / "nothing.mlpackage")


def test_a_file_is_not_a_package(tmp_path: Path) -> None:
    (tmp_path / "x.mlpackage").write_text("hello")
    with pytest.raises(PackageError, match=r"an .mlpackage is a folder"):
        ReferenceModel(tmp_path / "x.mlpackage")


def test_a_folder_without_a_manifest(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match=r"Manifest.json is missing"):
        ReferenceModel(tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", '{"rootModelIdentifier": "x", "itemInfoEntries": {}}'])
def test_a_corrupted_manifest(copy: Path, content: str) -> None:
    (copy / "Manifest.json").write_text(content)
    with pytest.raises(PackageError, match=r"Manifest.json: corrupted"):
        ReferenceModel(copy)


def test_a_manifest_that_leads_out_of_the_package(copy: Path) -> None:
    manifest = json.loads((copy / "Manifest.json").read_text())
    manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]["path"] = "../../../etc/passwd"
    (copy / "Manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(PackageError, match="leads out of the package"):
        ReferenceModel(copy)


def _specification(package: Path) -> Path:
    return package / "Data" / "com.apple.CoreML" / "model.mlmodel"


def test_a_corrupted_specification(copy: Path) -> None:
    _specification(copy).write_bytes(b"\xff" * 64)
    with pytest.raises(PackageError, match=r"model.mlmodel is corrupted"):
        ReferenceModel(copy)


def test_a_truncated_specification(copy: Path) -> None:
    content = _specification(copy).read_bytes()
    _specification(copy).write_bytes(content[: len(content) // 2])
    with pytest.raises(PackageError):
        ReferenceModel(copy)


def test_a_newer_specification(copy: Path) -> None:
    spec = ct.utils.load_spec(str(_specification(copy)))
    spec.specificationVersion = 99
    _specification(copy).write_bytes(spec.SerializeToString())
    with pytest.raises(PackageError, match="specification version 99 is newer"):
        ReferenceModel(copy)


def test_another_kind_of_model(copy: Path) -> None:
    spec = ct.proto.Model_pb2.Model(specificationVersion=5)
    spec.neuralNetwork.SetInParent()
    _specification(copy).write_bytes(spec.SerializeToString())
    with pytest.raises(PackageError, match="holds a neuralNetwork; only ML programs"):
        ReferenceModel(copy)


@pytest.mark.parametrize("kept", [0, 10, 100, 3000])
def test_truncated_weights(copy: Path, kept: int) -> None:
    weights = copy / "Data" / "com.apple.CoreML" / "weights" / "weight.bin"
    weights.write_bytes(weights.read_bytes()[:kept])
    with pytest.raises(PackageError, match=r"weight.bin: truncated"):
        ReferenceModel(copy)


def test_missing_weights(copy: Path) -> None:
    (copy / "Data" / "com.apple.CoreML" / "weights" / "weight.bin").unlink()
    with pytest.raises(PackageError, match="the weights file is missing"):
        ReferenceModel(copy)


def test_weights_overwritten_with_zeros(copy: Path) -> None:
    weights = copy / "Data" / "com.apple.CoreML" / "weights" / "weight.bin"
    header = weights.read_bytes()[:64]
    weights.write_bytes(header + bytes(weights.stat().st_size - 64))
    with pytest.raises(PackageError, match="corrupted: no blob starts at 64"):
        ReferenceModel(copy)


def test_an_object_of_another_kind() -> None:
    with pytest.raises(ExecutorError, match="cannot run a dict"):
        ReferenceModel({})


def test_errors_are_one_line(copy: Path) -> None:
    (copy / "Manifest.json").unlink()
    with pytest.raises(PackageError) as caught:
        ReferenceModel(copy)
    assert "\n" not in str(caught.value)
