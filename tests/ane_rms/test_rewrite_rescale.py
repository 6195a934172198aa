"""A finished package rewritten with a rescale: a stream past float16 fits, and what is not scaled stays as it was."""

from __future__ import annotations

from pathlib import Path

import coremltools as ct
import msgspec
import numpy as np
import pytest
import torch

import ane_rms
from ane_rms.package.files import open_package
from harness.interpreter import ReferenceModel
from tests.ane_rms.test_rewrite_package import D, RmsNorm, _ops, rel_l2, run
from tests.mil_tools import NE, torch_program

SHAPE = (1, 8, D)


class Stream(torch.nn.Module):
    """A residual stream that grows past float16, read by norms alone."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.embed, self.grow = torch.nn.Linear(D, D, bias=False), torch.nn.Linear(D, D, bias=False)
        self.first, self.last, self.head = RmsNorm(1), RmsNorm(2), torch.nn.Linear(D, D)
        with torch.no_grad():
            self.embed.weight *= 300.0
            self.grow.weight *= 1e5

    def forward(self, x):
        """Write to the stream twice, read it by two norms."""
        stream = self.embed(x)
        stream = stream + self.grow(self.first(stream))
        return self.head(self.last(stream))


@pytest.fixture(scope="module", params=["iOS16", "iOS18"])
def package(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("stream") / "plain.mlpackage"
    arguments = {"minimum_deployment_target": ct.target[request.param], "skip_model_load": True}
    model = ct.convert(torch_program(Stream(), SHAPE), inputs=[ct.TensorType("x", SHAPE)], **arguments)
    model.save(str(path))
    return path


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)


def test_a_stream_past_float16_is_brought_into_it(package, x, tmp_path):
    expected = Stream()(torch.from_numpy(x)).detach().numpy()
    plain = ane_rms.rewrite(package, skip_model_load=True)
    done = ane_rms.rewrite(package, tmp_path / "out.mlpackage", rescale=2.0**-6, skip_model_load=True)
    assert not rel_l2(run(plain, x), expected) < 1e-2
    assert rel_l2(run(done, x), expected) < 5e-3
    report = ane_rms.report(done)
    assert (len(report.fused), report.missed) == (2, ())
    assert [one.factor for one in report.rescaled] == [2.0**-6]
    before, after = (open_package(path).spec for path in (package, tmp_path / "out.mlpackage"))
    assert after.description.input == before.description.input
    assert after.description.output == before.description.output
    head = [op for op in _ops(before) if op.type == "linear"][-1]
    kept = {op.outputs[0].name: op for op in _ops(after)}
    for bound in (head.inputs["weight"], head.inputs["bias"]):
        name = bound.arguments[0].name
        assert kept[name] == next(op for op in _ops(before) if op.outputs[0].name == name)
    weights = [
        path / "Data" / "com.apple.CoreML" / "weights" / "weight.bin" for path in (package, after_path(tmp_path))
    ]
    old, new = (path.read_bytes() for path in weights)
    assert new[64 : len(old)] == old[64:]


def after_path(folder):
    return folder / "out.mlpackage"


def test_norms_that_stand_lowered_are_rescaled_as_well(package, x):
    lowered = ane_rms.rewrite(package, lowering="layer_norm_affine", skip_model_load=True)
    done = ane_rms.rewrite(lowered, rescale=2.0**-6, skip_model_load=True)
    assert rel_l2(run(done, x), Stream()(torch.from_numpy(x)).detach().numpy()) < 5e-3
    assert len(ane_rms.report(done).fused) == 2


def test_a_rescale_that_is_none_is_refused(package, tmp_path):
    with pytest.raises(ValueError, match="rescale must be a power of two"):
        ane_rms.rewrite(package, tmp_path / "out.mlpackage", rescale=0.3)
    assert not list(tmp_path.iterdir())


def test_states_and_functions_survive_a_rescale(tmp_path):
    from harness.convert.conversion import convert
    from harness.export import export
    from harness.plan.shapes import parse
    from harness.plan.variants import VARIANTS
    from harness.zoo import catalog

    spec = msgspec.structs.replace(catalog.load_zoo()["llama"], activations="tame")  # plain float16 must hold it
    exported = export(spec, shape=parse("both:8"))
    converted = convert(exported, VARIANTS["off"])  # which keeps the package for as long as it lives
    plain = converted.model
    done = ane_rms.rewrite(plain, rescale=0.5, compute_units=NE, skip_model_load=True)
    before, after = plain.get_spec(), done.get_spec()
    assert sorted(after.mlProgram.functions) == ["decode", "prefill"]
    assert after.description.functions == before.description.functions
    for name, function in after.mlProgram.functions.items():
        assert function.inputs == before.mlProgram.functions[name].inputs
    assert len(ane_rms.report(done).fused) == 10
    for name in ("prefill", "decode"):
        models = [ReferenceModel(one, precision="fp16", function_name=name) for one in (plain, done)]
        rng = np.random.default_rng(1)
        data = {
            given.value.name: rng.integers(0, 2, given.value.type.shape).astype(np.int32)
            if not given.value.type.dtype.is_float
            else np.zeros(given.value.type.shape, np.float32)
            for given in models[0].function.inputs
        }
        states = [model.make_state() for model in models]
        a, b = (next(iter(model.predict(data, state).values())) for model, state in zip(models, states, strict=True))
        assert rel_l2(b, a) < 5e-3


def test_functions_that_share_weights_share_the_scaled_ones(tmp_path):
    joined = ct.utils.MultiFunctionDescriptor()
    program = torch_program(Stream(), SHAPE)
    arguments = {"minimum_deployment_target": ct.target.iOS18, "skip_model_load": True}
    ct.convert(program, inputs=[ct.TensorType("x", SHAPE)], **arguments).save(str(tmp_path / "one.mlpackage"))
    for name in ("infer", "prefill", "again"):
        joined.add_function(str(tmp_path / "one.mlpackage"), "main", name)
    joined.default_function_name = "infer"
    ct.utils.save_multifunction(joined, str(tmp_path / "several.mlpackage"))
    grown = []
    for name, functions in (("one", 1), ("several", 3)):
        done = ane_rms.rewrite(tmp_path / f"{name}.mlpackage", rescale=2.0**-6, skip_model_load=True)
        entries = ane_rms.report(done).rescaled
        assert [(len(one.weights), len(one.multiplications)) for one in entries] == [(2, 0)] * functions
        sizes = [
            open_package(Path(path)).folder.joinpath("weights", "weight.bin").stat().st_size
            for path in (tmp_path / f"{name}.mlpackage", done.package_path)
        ]
        grown.append(sizes[1] - sizes[0])
    assert grown[0] == grown[1]
