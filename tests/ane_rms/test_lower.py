"""The lowering: exactly which ops, for which shapes, targets and precisions; and that the values stay."""

from __future__ import annotations

import coremltools as ct
import numpy as np
import pytest
from coremltools.converters.mil.mil import Builder as mb
from coremltools.converters.mil.mil import types

import ane_rms
from harness.interpreter import ReferenceModel
from tests.ane_rms.spellings import SPELLINGS, D
from tests.mil_tools import (
    NE,
    UNITS,
    Norm,
    inputs,
    op_types,
    options,
    predict,
    regimes,
    rms_norm64,
    torch_program,
)

LLAMA = SPELLINGS["A: gamma * (...).to"]
BARE = SPELLINGS["E: no gamma (Llama4 L2Norm)"]
ORIGINAL = {name: case for name, case in SPELLINGS.items() if name.startswith("original")}
TARGETS = [ct.target.iOS15, ct.target.iOS16, ct.target.iOS17, ct.target.iOS18]
FLOAT32_ROUNDING = 2e-6
FLOAT16_ROUNDING = 2e-3
"""Four roundings of float16 (4.9e-4): of the input, the normalised value, gamma, the product."""


def stored(epsilon, target, *, wide):
    """Return epsilon as the program stores it: before iOS 17, float16 makes 1e-6 into 1.0133e-6."""
    return epsilon if wide or target >= ct.target.iOS17 else float(np.float16(epsilon))


def chain(model):
    """Return the ops of the one lowered norm by type, in order; casts left out."""
    ops = [op for op in model._mil_program["main"].operations if op.op_type not in ("const", "cast", "identity")]
    return [op.op_type for op in ops], ops


@pytest.mark.parametrize("precision", [ct.precision.FLOAT16, ct.precision.FLOAT32])
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("case", [LLAMA, BARE], ids=["gamma", "bare"])
def test_a_norm_is_lowered_to_exactly_these_ops(case, target, precision):
    shape = (2, 8, D)
    model = ane_rms.convert(
        torch_program(Norm(case.function), shape),
        inputs=inputs(shape),
        **options(NE, minimum_deployment_target=target, compute_precision=precision),
    )
    found, ops = chain(model)
    assert found == ["mul", "concat", "layer_norm", "slice_by_index", *(["mul"] if case.has_gamma else [])]
    negative, doubled, normal, half = ops[:4]
    x = negative.x if negative.y.val is not None else negative.y
    assert (negative.y if x is negative.x else negative.x).val == -1
    assert [value.name for value in doubled.values] == [x.name, negative.outputs[0].name]
    assert doubled.axis.val in (-1, 2)
    assert not doubled.interleave.val
    assert normal.x is doubled.outputs[0]
    assert list(normal.axes.val) in ([-1], [2])
    assert normal.gamma is None
    assert normal.beta is None
    assert normal.epsilon.val == pytest.approx(
        stored(case.epsilon, target, wide=precision == ct.precision.FLOAT32), rel=1e-6
    )
    assert half.x is normal.outputs[0]
    assert list(half.begin.val) == [0, 0, 0]
    assert half.end.val[-1] == D
    assert half.outputs[0].shape == shape
    assert half.stride is None or list(half.stride.val) == [1, 1, 1]
    if case.has_gamma:
        weight = Norm(case.function).weight.numpy()
        gamma = next(value.val for value in (ops[4].x, ops[4].y) if value.val is not None)
        np.testing.assert_allclose(np.ravel(gamma), weight, rtol=1e-3)

    values, wide = regimes(shape), precision == ct.precision.FLOAT32
    expected = rms_norm64(values, weight if case.has_gamma else None, stored(case.epsilon, target, wide=wide))
    tolerance = FLOAT32_ROUNDING if wide else FLOAT16_ROUNDING
    actual = predict(model, values, "fp32" if wide else "fp16")
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("precision", [ct.precision.FLOAT16, ct.precision.FLOAT32])
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("shape", [(8, D), (2, 8, D), (2, 3, 8, D)], ids=["rank 2", "rank 3", "rank 4"])
def test_every_rank_target_and_precision_converts(shape, target, precision):
    model = ane_rms.convert(
        torch_program(Norm(LLAMA.function), shape),
        inputs=inputs(shape),
        **options(NE, minimum_deployment_target=target, compute_precision=precision),
    )
    assert [site.shape for site in ane_rms.report(model).fused] == [shape]
    x = regimes(shape)
    wide = precision == ct.precision.FLOAT32
    tolerance = FLOAT32_ROUNDING if wide else FLOAT16_ROUNDING
    expected = rms_norm64(x, Norm(LLAMA.function).weight.numpy(), stored(LLAMA.epsilon, target, wide=wide))
    actual = predict(model, x, "fp32" if wide else "fp16")
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    ("flexible", "lengths"),
    [
        (ct.RangeDim(1, 64, default=8), (1, 8, 64)),
        (ct.EnumeratedShapes([(2, 4, D), (2, 8, D), (2, 16, D)], default=(2, 8, D)), (4, 8, 16)),
    ],
    ids=["RangeDim", "EnumeratedShapes"],
)
def test_flexible_sequence_lengths_fuse(flexible, lengths, target):
    shape = (2, flexible, D) if isinstance(flexible, ct.RangeDim) else flexible
    model = ane_rms.convert(
        torch_program(Norm(LLAMA.function), (2, 8, D)),
        inputs=[ct.TensorType(name="x", shape=shape)],
        **options(NE, minimum_deployment_target=target),
    )
    (site,) = ane_rms.report(model).fused
    assert (site.shape[0], site.shape[2]) == (2, D)
    assert isinstance(site.shape[1], str)
    assert [name for name in op_types(model) if name not in ("cast", "identity")] == [
        "mul", "concat", "layer_norm", "slice_by_index", "mul",
    ]  # fmt: skip
    weight = Norm(LLAMA.function).weight.numpy()
    for length in lengths:
        x = regimes((2, length, D))
        expected = rms_norm64(x, weight, stored(LLAMA.epsilon, target, wide=False))
        actual = predict(model, x, "fp16")
        np.testing.assert_allclose(actual, expected, rtol=FLOAT16_ROUNDING, atol=FLOAT16_ROUNDING)


@pytest.mark.parametrize("shape", [(1, 128, 512), (2, 64, 256), (4, 32, 128)])
@pytest.mark.parametrize("name", ORIGINAL)
def test_float16_precision_on_the_shapes_of_the_original_work(name, shape, ledger):
    """The original work reports up to 1.27e-2 mean relative error and 5e-3 max abs on these."""
    import torch

    width = shape[-1]
    module = Norm(ORIGINAL[name].function, torch.ones(width))
    model = ane_rms.convert(
        torch_program(module, shape),
        inputs=inputs(shape),
        **options(NE, minimum_deployment_target=ct.target.iOS17),
    )
    assert len(ane_rms.report(model).fused) == 1
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    expected, actual = module(x).numpy(), predict(model, x.numpy(), "fp16")
    relative = float(np.mean(np.abs(actual - expected) / (np.abs(expected) + 1e-8)))
    largest = float(np.max(np.abs(actual - expected)))
    assert relative < 5e-4
    assert largest < 5e-3
    ledger.note("float16 precision", name, "x".join(map(str, shape)), f"{relative:.1e} mean rel, {largest:.1e} max")


def name_of(units):
    return "unset" if units is None else units.name


@pytest.mark.parametrize("units", UNITS, ids=name_of)
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    ("axes", "with_gamma"),
    [([-1], True), ([-1], False), ([1], True), ([1, 2], True), ([0], False), ([-1, 0], True)],
)
def test_a_hand_written_op_converts_for_every_compute_unit(axes, with_gamma, target, units):
    shape = (2, 8, D)
    positive = sorted(axis % 3 for axis in axes)
    sizes = [shape[axis] for axis in positive]
    gamma = np.random.default_rng(2).uniform(0.5, 1.5, sizes).astype(np.float32)

    @mb.program(input_specs=[mb.TensorSpec(shape=shape)], opset_version=target)
    def program(x):
        given = {"gamma": gamma} if with_gamma else {}
        return mb.ane_rms_norm(x=x, axes=axes, epsilon=np.float32(1e-5), name="y", **given)

    model = ane_rms.convert(program, **options(units, minimum_deployment_target=target))
    found = op_types(model)
    assert ("layer_norm" in found) is (units is NE)
    assert ("sqrt" in found) is (units is not NE)
    x = np.random.default_rng(3).standard_normal(shape).astype(np.float32)
    spread = gamma.reshape([n if i in positive else 1 for i, n in enumerate(shape)]) if with_gamma else None
    expected = rms_norm64(x, spread, 1e-5, tuple(positive))
    (actual,) = ReferenceModel(model, "fp16").predict({"x": x}).values()
    np.testing.assert_allclose(actual, expected, rtol=FLOAT16_ROUNDING, atol=FLOAT16_ROUNDING)


def test_a_hand_written_op_of_float16_converts_before_ios17():
    @mb.program(input_specs=[mb.TensorSpec(shape=(2, D), dtype=types.fp16)], opset_version=ct.target.iOS16)
    def program(x):
        return mb.ane_rms_norm(x=x, gamma=np.ones(D, np.float16) * np.float16(0.5))

    model = ane_rms.convert(program, **options(NE, minimum_deployment_target=ct.target.iOS16))
    x = regimes((2, D)).astype(np.float16)
    expected = rms_norm64(x, np.full(D, 0.5), 1e-5)
    np.testing.assert_allclose(predict(model, x, "fp16"), expected, rtol=FLOAT16_ROUNDING, atol=FLOAT16_ROUNDING)


def test_an_axis_without_a_fixed_size_is_not_fused_and_expands_by_hand():
    width = ct.RangeDim(1, 128, default=D)
    model = ane_rms.convert(
        torch_program(Norm(BARE.function), (2, 8, D)),
        inputs=[ct.TensorType(name="x", shape=(2, 8, width))],
        **options(NE, minimum_deployment_target=ct.target.iOS17),
    )
    report = ane_rms.report(model)
    assert report.fused == ()
    (miss,) = report.missed
    assert "no fixed size" in miss.reason
