"""A module converted as it is, a program of several functions converted whole, and the version."""

from __future__ import annotations

from pathlib import Path

import coremltools as ct
import numpy as np
import pytest
import tomllib
import torch
from coremltools.converters.mil.frontend.milproto.load import load
from coremltools.converters.mil.mil import Builder as mb
from coremltools.converters.mil.mil import types

import ane_rms
from tests.ane_rms.test_rewrite_package import D, RmsNorm, network
from tests.mil_tools import NE, inputs, options, predict, torch_program

SHAPE = (2, 8, D)
ARGUMENTS = options(NE, minimum_deployment_target=ct.target.iOS17, compute_precision=ct.precision.FLOAT32)


def test_a_module_is_traced_with_zeros_of_its_inputs_shapes():
    module = network().train()
    model = ane_rms.convert(module, inputs=[ct.TensorType(shape=SHAPE)], **ARGUMENTS)
    assert module.training
    assert len(ane_rms.report(model).fused) == 2
    x = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    expected = network()(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(predict(model, x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [ct.Shape((2, ct.RangeDim(1, 32, default=8), D)), (2, ct.RangeDim(1, 32), D)])
def test_a_flexible_dimension_is_traced_at_its_default(shape):
    model = ane_rms.convert(RmsNorm(1), inputs=[ct.TensorType("x", shape)], **ARGUMENTS)
    x = np.random.default_rng(0).standard_normal((2, 11, D)).astype(np.float32)
    expected = RmsNorm(1)(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(predict(model, x), expected, rtol=1e-4, atol=1e-5)


def test_integer_inputs_are_traced_as_such():
    module = torch.nn.Sequential(torch.nn.Embedding(16, D), RmsNorm(1)).eval()
    model = ane_rms.convert(module, inputs=[ct.TensorType("ids", (1, 4), dtype=np.int32)], **ARGUMENTS)
    assert len(ane_rms.report(model).fused) == 1


def test_a_module_without_shapes_is_refused_in_one_line():
    with pytest.raises(ValueError, match=r"RmsNorm: a torch\.nn\.Module is traced with zeros"):
        ane_rms.convert(RmsNorm(1), **ARGUMENTS)


def test_a_traced_module_is_converted_as_before():
    model = ane_rms.convert(torch_program(RmsNorm(1), SHAPE), inputs=inputs(SHAPE), **ARGUMENTS)
    assert len(ane_rms.report(model).fused) == 1


def test_a_program_loaded_from_a_package_of_several_functions_keeps_them(tmp_path):
    joined = ct.utils.MultiFunctionDescriptor()
    arguments = options(NE, minimum_deployment_target=ct.target.iOS18)
    for name, length in (("infer", 1), ("prefill", 8)):
        model = ct.convert(torch_program(RmsNorm(1), (1, length, D)), inputs=inputs((1, length, D)), **arguments)
        model.save(str(tmp_path / f"{name}.mlpackage"))
        joined.add_function(str(tmp_path / f"{name}.mlpackage"), "main", name)
    joined.default_function_name = "prefill"
    ct.utils.save_multifunction(joined, str(tmp_path / "both.mlpackage"))
    model = ct.models.MLModel(str(tmp_path / "both.mlpackage"), skip_model_load=True)
    spec = model.get_spec()
    program = load(spec, specification_version=spec.specificationVersion, file_weights_dir=model.weights_dir)
    done = ane_rms.convert(program, **arguments)
    assert sorted(done.get_spec().mlProgram.functions) == ["infer", "prefill"]
    assert sorted(one.name for one in done.get_spec().description.functions) == ["infer", "prefill"]
    assert len(ane_rms.report(done).fused) == 2
    assert (program.export_as_multifunction, program.default_function_name) == (False, "main")


def test_a_program_of_main_alone_is_described_as_before():
    @mb.program(input_specs=[mb.TensorSpec(SHAPE, dtype=types.fp32)], opset_version=ct.target.iOS17)
    def program(x):
        return mb.ane_rms_norm(x=x, gamma=np.ones(D, np.float32), epsilon=1e-6)

    spec = ane_rms.convert(program, **ARGUMENTS).get_spec()
    assert not spec.description.functions
    assert [one.name for one in spec.description.input] == ["x"]


def test_the_version_is_that_of_the_project():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    assert ane_rms.__version__ == project["project"]["version"]
