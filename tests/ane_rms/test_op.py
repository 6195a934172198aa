"""The op: its defaults, its type rules a opset, what it refuses, its value inference."""

from __future__ import annotations

import coremltools as ct
import numpy as np
import pytest
from coremltools.converters.mil.mil import Builder as mb
from coremltools.converters.mil.mil import types

import ane_rms  # noqa: F401 - registers the op
from tests.mil_tools import options, regimes, rms_norm64

OPSETS = [ct.target.iOS15, ct.target.iOS16, ct.target.iOS17, ct.target.iOS18]
SHAPE = (2, 8, 64)


def build(opset=ct.target.iOS17, shape=SHAPE, dtype=types.fp32, **given):
    """Return the one op of a program that normalises its input."""

    @mb.program(input_specs=[mb.TensorSpec(shape=shape, dtype=dtype)], opset_version=opset)
    def program(x):
        return mb.ane_rms_norm(x=x, **given)

    (op,) = program.find_ops(op_type="ane_rms_norm")
    return op


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize(("dtype", "numpy_type"), [(types.fp16, np.float16), (types.fp32, np.float32)])
def test_defaults_at_every_opset(opset, dtype, numpy_type):
    op = build(opset, dtype=dtype)
    assert op.gamma is None
    assert op.epsilon.val == numpy_type(1e-5)
    assert list(op.axes.val) == [-1]
    assert op.outputs[0].dtype == dtype
    assert op.outputs[0].shape == SHAPE


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("name", ["gamma", "epsilon"])
def test_types_mix_from_ios17_on_as_for_layer_norm(opset, name):
    values = {"gamma": np.ones(64, np.float32), "epsilon": np.float32(1e-6)}
    others = {"epsilon": np.float32(1e-5)} if name == "gamma" and opset >= ct.target.iOS17 else {}

    @mb.program(input_specs=[mb.TensorSpec(shape=SHAPE, dtype=types.fp16)], opset_version=opset)
    def reference(x):
        return mb.identity(x=x)

    def with_layer_norm():
        with reference["main"]:
            mb.layer_norm(x=reference["main"].inputs["x"], axes=[-1], **{name: values[name]}, **others)

    if opset >= ct.target.iOS17:
        build(opset, dtype=types.fp16, **{name: values[name]}, **others)
        with_layer_norm()
        return
    with pytest.raises(ValueError, match=f"{name} is fp32 but x is fp16; before iOS 17 they must be the same"):
        build(opset, dtype=types.fp16, **{name: values[name]})
    with pytest.raises(ValueError, match="same data type"):
        with_layer_norm()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            {"gamma": np.ones(63, np.float32)},
            r"gamma must have shape \[64\], x's over axes \[2\]; got \[63\]",
        ),
        ({"gamma": np.ones((8, 64), np.float32)}, r"gamma must have shape \[64\]"),
        ({"gamma": np.ones(64, np.float32), "axes": [1]}, r"gamma must have shape \[8\]"),
        ({"gamma": np.float32(1)}, r"gamma must have shape \[64\].*got \[\]"),
        ({"axes": [3]}, "axis 3 is out of range for x of rank 3"),
        ({"axes": [-4]}, "axis -4 is out of range"),
        ({"axes": [2, -1]}, "name an axis twice"),
        ({"axes": [1, 1]}, "name an axis twice"),
        ({"epsilon": np.float32(-1e-6)}, "epsilon must be a finite number, 0 or more"),
        ({"epsilon": np.float32(np.nan)}, "epsilon must be a finite number"),
        ({"epsilon": np.float32(np.inf)}, "epsilon must be a finite number"),
    ],
)
def test_what_makes_no_rms_norm_is_refused_in_a_sentence(given, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        build(**given)
    assert "\n" not in str(caught.value)
    assert "ane_rms_norm" in str(caught.value)


def test_an_integer_input_is_refused():
    with pytest.raises(ValueError, match="int32"):
        build(dtype=types.int32)


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("numpy_type", [np.float16, np.float32])
@pytest.mark.parametrize(
    ("shape", "axes", "epsilon", "with_gamma"),
    [
        (SHAPE, [-1], 1e-6, True),
        (SHAPE, [-1], 1e-6, False),
        (SHAPE, [1, 2], 1e-5, True),
        (SHAPE, [-1, 1], 1e-5, True),
        ((2, 8, 4, 3), [1], 1e-5, True),
        ((64,), [0], 1e-5, True),
        ((7, 1), [-1], 1e-6, True),
        (SHAPE, [-1], 0.0, False),
    ],
)
def test_value_inference_is_the_float64_formula(opset, numpy_type, shape, axes, epsilon, with_gamma):
    x = regimes((8, shape[-1]))[: int(np.prod(shape[:-1]) or 1)] if len(shape) < 3 else regimes(shape)
    x = x.reshape(shape).astype(numpy_type)
    positive = sorted(axis % x.ndim for axis in axes)
    gamma = np.random.default_rng(1).uniform(0.5, 1.5, [shape[i] for i in positive]).astype(numpy_type)

    @mb.program(input_specs=[mb.TensorSpec(shape=(1,))], opset_version=opset)
    def program(unused):
        given = {"gamma": gamma} if with_gamma else {}
        return mb.identity(x=unused), mb.ane_rms_norm(x=x, axes=axes, epsilon=numpy_type(epsilon), **given)

    (op,) = program.find_ops(op_type="ane_rms_norm")
    spread = gamma.reshape([n if i in positive else 1 for i, n in enumerate(shape)]) if with_gamma else None
    expected = rms_norm64(x, spread, float(numpy_type(epsilon)), tuple(positive)).astype(numpy_type)
    np.testing.assert_array_equal(op.outputs[0].val, expected)
    assert op.outputs[0].val.dtype == numpy_type


def test_a_program_that_still_holds_the_op_fails_at_conversion():
    @mb.program(input_specs=[mb.TensorSpec(shape=SHAPE)], opset_version=ct.target.iOS17)
    def program(x):
        return mb.ane_rms_norm(x=x, name="my_norm")

    with pytest.raises(ValueError, match=r'unsupported op "my_norm.*" with type "ane_rms_norm"'):
        ct.convert(program, **options(ct.ComputeUnit.CPU_AND_NE, minimum_deployment_target=ct.target.iOS17))
