"""A finished package, rewritten: the norms of a direct conversion, and everything else byte for byte."""

from __future__ import annotations

import json
from pathlib import Path

import coremltools as ct
import numpy as np
import pytest
import torch
from coremltools.converters.mil.mil import Builder as mb
from coremltools.converters.mil.mil import types

import ane_rms
from ane_rms.package.files import open_package
from ane_rms.passes.strategies import STRATEGIES
from ane_rms.report import METADATA_KEY
from harness.interpreter import ReferenceModel
from tests.ane_rms.finished import SHAPE, D, RmsNorm, described, digests, held, network, plain, rel_l2, run
from tests.mil_tools import NE, options, regimes, rms_norm64, torch_program


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    path = tmp_path_factory.mktemp("plain") / "plain.mlpackage"
    described().save(str(path))
    return path


def test_it_is_what_a_direct_conversion_gives(package, tmp_path):
    before = digests(package)
    model = ane_rms.rewrite(package, tmp_path / "out.mlpackage", skip_model_load=True)
    direct = ane_rms.convert(
        torch_program(network(), SHAPE),
        inputs=[ct.TensorType("x", SHAPE)],
        **options(NE, minimum_deployment_target=ct.target.iOS17),
    )
    assert digests(package) == before
    assert [path.name for path in tmp_path.iterdir()] == ["out.mlpackage"]
    report = ane_rms.report(tmp_path / "out.mlpackage")
    assert (len(report.fused), report.missed, report.lowered) == (2, (), ())
    assert (report.acting, report.compute_units, report.lowering) == (True, "CPU_AND_NE", "layer_norm")
    assert [site.form for site in held(tmp_path / "out.mlpackage").lowered] == ["layer_norm"] * 2
    x = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32) * 300  # squares overflow float16
    assert rel_l2(run(model, x), run(direct, x)) < 1e-3
    assert _epsilons(model) == [
        float(np.float16(1e-6)),
        float(np.float16(1e-5)),
    ]  # as they stand in the float16 program


def _epsilons(model):
    from ane_rms.package.graph import program_view
    from ane_rms.package.weights import Weights

    view = program_view(model.get_spec().mlProgram, Weights(Path(model.weights_dir).parent, "model"))
    return [float(op.epsilon.val) for op in view.functions["main"].operations if op.op_type == "layer_norm"]


def test_everything_else_stays(package, tmp_path):
    ane_rms.rewrite(package, tmp_path / "out.mlpackage", skip_model_load=True)
    before, after = open_package(package).spec, open_package(tmp_path / "out.mlpackage").spec
    assert json.loads(after.description.metadata.userDefined.pop(METADATA_KEY))["acting"] is True
    assert after.description == before.description
    assert after.specificationVersion == before.specificationVersion
    old, new = (list(_ops(spec)) for spec in (before, after))
    untouched = [op for op in old if op.type in ("linear", "cast") or "weight" in op.outputs[0].name]
    assert untouched
    assert all(op in new for op in untouched)
    old_bytes, new_bytes = (_weights(path) for path in (package, tmp_path / "out.mlpackage"))
    assert new_bytes[64 : len(old_bytes)] == old_bytes[64:]
    assert {op.type for op in new}.isdisjoint({"pow", "reduce_mean", "rsqrt"})


def _ops(spec):
    for function in spec.mlProgram.functions.values():
        yield from function.block_specializations[function.opset].operations


def _weights(path):
    return (path / "Data" / "com.apple.CoreML" / "weights" / "weight.bin").read_bytes()


@pytest.mark.parametrize("lowering", STRATEGIES)
def test_every_lowering_and_from_each_to_the_next(lowering, package, tmp_path):
    first = ane_rms.rewrite(package, tmp_path / "first.mlpackage", lowering=lowering, skip_model_load=True)
    second = ane_rms.rewrite(first, tmp_path / "second.mlpackage", lowering="layer_norm", skip_model_load=True)
    again = held(tmp_path / "first.mlpackage")
    assert len(again.fused if lowering == "none" else again.lowered) == 2
    assert [site.form for site in held(tmp_path / "second.mlpackage").lowered] == ["layer_norm"] * 2
    assert not held(tmp_path / "second.mlpackage").fused
    x = np.random.default_rng(1).standard_normal(SHAPE).astype(np.float32)
    expected = network()(torch.from_numpy(x)).detach().numpy()
    for model in (first, second):
        assert rel_l2(run(model, x), expected) < 3e-3  # float16's rounding of weights and of three layers
    before, after = (held(tmp_path / f"{name}.mlpackage") for name in ("first", "second"))
    named = before.fused if lowering == "none" else before.lowered
    assert [site.name for site in named] == [site.name for site in after.lowered]


@pytest.mark.parametrize("target", [ct.target.iOS15, ct.target.iOS16, ct.target.iOS18], ids=lambda one: one.name)
def test_float32_programs_of_every_target_equal_the_formula(target, tmp_path):
    model = plain(target=target, precision=ct.precision.FLOAT32, module=RmsNorm(3))
    done = ane_rms.rewrite(model, skip_model_load=True)
    x = regimes(SHAPE)
    expected = rms_norm64(x, RmsNorm(3).weight.detach().numpy(), 1e-6)
    np.testing.assert_allclose(run(done, x, "fp32"), expected, rtol=2e-5, atol=1e-6)
    assert len(ane_rms.report(done).fused) == 1
    assert done.get_spec().specificationVersion == model.get_spec().specificationVersion


@pytest.mark.parametrize(
    "shape",
    [
        ct.Shape((2, ct.RangeDim(1, 32, default=8), D)),
        ct.EnumeratedShapes([(2, 8, D), (2, 16, D)], default=(2, 8, D)),
    ],
    ids=["range", "enumerated"],
)
def test_flexible_shapes_stay_flexible(shape):
    model = plain(given=[ct.TensorType("x", shape)])
    done = ane_rms.rewrite(model, skip_model_load=True)
    assert done.get_spec().description.input == model.get_spec().description.input
    assert len(ane_rms.report(done).fused) == 2
    for length in (8, 16):
        x = np.random.default_rng(2).standard_normal((2, length, D)).astype(np.float32)
        assert rel_l2(run(done, x), run(model, x)) < 2e-3
    warned = any("EnumeratedShapes" in one.reason for one in ane_rms.report(done).warnings)
    assert warned == isinstance(shape, ct.EnumeratedShapes)


def test_functions_are_rewritten_and_go_on_sharing_their_weights(tmp_path):
    joined = ct.utils.MultiFunctionDescriptor()
    for name, length in (("infer", 1), ("prefill", 8)):
        plain((1, length, D), target=ct.target.iOS18).save(str(tmp_path / f"{name}.mlpackage"))
        joined.add_function(str(tmp_path / f"{name}.mlpackage"), "main", name)
    joined.default_function_name = "infer"
    ct.utils.save_multifunction(joined, str(tmp_path / "both.mlpackage"))
    done = ane_rms.rewrite(
        tmp_path / "both.mlpackage", tmp_path / "out.mlpackage", lowering="layer_norm_affine", skip_model_load=True
    )
    assert sorted(done.get_spec().mlProgram.functions) == ["infer", "prefill"]
    assert len(ane_rms.report(done).fused) == 4
    grown = len(_weights(tmp_path / "out.mlpackage")) - len(_weights(tmp_path / "both.mlpackage"))
    assert 0 < grown <= 2 * (64 + 4 * 2 * D) + 64  # the doubled gammas of two norms, once for both functions
    one = ane_rms.rewrite(tmp_path / "both.mlpackage", function="prefill", skip_model_load=True)
    assert len(ane_rms.report(one).fused) == 2
    with pytest.raises(ValueError, match="has no function 'decode'; it has infer, prefill"):
        ane_rms.rewrite(tmp_path / "both.mlpackage", function="decode")


@pytest.mark.parametrize("scheme", ["palettised", "int8", "int4"])
def test_compressed_weights_stay_compressed(scheme, tmp_path):
    from coremltools.optimize import coreml as cto

    model = plain(target=ct.target.iOS18)
    if scheme == "palettised":
        config = cto.OptimizationConfig(cto.OpPalettizerConfig(mode="uniform", nbits=4, weight_threshold=32))
        compressed = cto.palettize_weights(model, config)
    else:
        config = cto.OptimizationConfig(cto.OpLinearQuantizerConfig(dtype=scheme, weight_threshold=32))
        compressed = cto.linear_quantize_weights(model, config)
    done = ane_rms.rewrite(compressed, skip_model_load=True)
    assert len(ane_rms.report(done).fused) == 2
    kinds = [[op.type for op in _ops(one.get_spec()) if op.type.startswith("constexpr")] for one in (compressed, done)]
    assert kinds[0]
    assert kinds[0] == kinds[1]
    x = np.random.default_rng(3).standard_normal(SHAPE).astype(np.float32)
    assert rel_l2(run(done, x), run(compressed, x)) < 2e-3


def test_images_and_classes_stay():
    class Classifier(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.head = RmsNorm(4), torch.nn.Linear(D, 3)

        def forward(self, image):
            return torch.softmax(self.head(self.norm(image).mean((1, 2))), -1)

    model = plain(
        (1, 3, 16, D),
        given=[ct.ImageType("image", (1, 3, 16, D), scale=1 / 255)],
        module=Classifier(),
        classifier_config=ct.ClassifierConfig(["a", "b", "c"]),
    )
    done = ane_rms.rewrite(model, skip_model_load=True)
    assert len(ane_rms.report(done).fused) == 1
    before, after = model.get_spec().description, done.get_spec().description
    assert (after.input, after.output, after.predictedFeatureName) == (
        before.input,
        before.output,
        before.predictedFeatureName,
    )


def test_a_norm_inside_a_branch_is_rewritten_there():
    @mb.program(
        input_specs=[mb.TensorSpec(SHAPE, dtype=types.fp32), mb.TensorSpec((1,), dtype=types.fp32)],
        opset_version=ct.target.iOS17,
    )
    def program(x, flag):
        def normed():
            mean = mb.reduce_mean(x=mb.mul(x=x, y=x), axes=[-1], keep_dims=True)
            return mb.mul(x=x, y=mb.rsqrt(x=mb.add(x=mean, y=np.float32(1e-6)), epsilon=1e-12))

        positive = mb.squeeze(x=mb.greater(x=flag, y=0.0))
        return mb.cond(pred=positive, _true_fn=normed, _false_fn=lambda: mb.identity(x=x))

    model = ct.convert(program, skip_model_load=True, minimum_deployment_target=ct.target.iOS17)
    done = ane_rms.rewrite(model, skip_model_load=True)
    assert len(ane_rms.report(done).fused) == 1
    x = np.random.default_rng(4).standard_normal(SHAPE).astype(np.float32)
    for flag in (1.0, -1.0):
        data = {"x": x, "flag": np.array([flag], np.float32)}
        a, b = (next(iter(ReferenceModel(one, precision="fp16").predict(data).values())) for one in (done, model))
        assert rel_l2(a, b) < 2e-3


def test_a_program_without_norms_is_copied(tmp_path):
    model = plain(module=torch.nn.Linear(D, D).eval())
    done = ane_rms.rewrite(model, tmp_path / "out.mlpackage", skip_model_load=True)
    assert done.get_spec().mlProgram == model.get_spec().mlProgram


def test_rewriting_twice_changes_nothing_the_second_time(package, tmp_path):
    ane_rms.rewrite(package, tmp_path / "once.mlpackage", skip_model_load=True)
    ane_rms.rewrite(tmp_path / "once.mlpackage", tmp_path / "twice.mlpackage", skip_model_load=True)
    assert digests(tmp_path / "once.mlpackage") == digests(tmp_path / "twice.mlpackage")
