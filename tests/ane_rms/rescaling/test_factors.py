"""Whatever exponents the values of a program are given, its outputs stay what they were."""

from __future__ import annotations

import coremltools as ct
import numpy as np
import pytest
from coremltools.converters.mil.mil import Builder as mb
from coremltools.converters.mil.mil import types
from hypothesis import given, settings
from hypothesis import strategies as st

from ane_rms.rescaling.factors import give, scaled_copy
from ane_rms.rescaling.relations import float_values
from ane_rms.rescaling.survey import Survey
from tests.ane_rms.rescaling.networks import Network, run


@settings(max_examples=25, deadline=None)
@given(data=st.data(), seed=st.integers(0, 1000))
def test_random_exponents_of_all_values_leave_the_outputs_alone(data, seed):
    program = Network(lambda name: data.draw(st.booleans(), label=name), np.random.default_rng(seed)).program()
    before = run(program)
    exponents = {var: data.draw(st.integers(-3, 3)) for var in float_values(program)}
    give(exponents, Survey(program))
    program.validate()
    for expected, actual in zip(before, run(program), strict=True):
        np.testing.assert_allclose(
            actual, expected, rtol=1e-12, atol=1e-12
        )  # powers of two: a digit of float64 at most


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("exponent", [-30, -24, -3, 5, 15, 20])
def test_a_scaled_copy_is_of_the_same_type_and_exact_where_it_is_normal(dtype, exponent):
    array = np.array([1.0, -1.5, 0.0], dtype)
    copy = scaled_copy(array, exponent)
    assert copy.dtype == dtype
    with np.errstate(over="ignore", under="ignore"):
        np.testing.assert_array_equal(copy, (array.astype(np.float64) * 2.0**exponent).astype(dtype))


def test_an_epsilon_of_float16_stays_positive():
    @mb.program(input_specs=[mb.TensorSpec(shape=(1, 8), dtype=types.fp16)], opset_version=ct.target.iOS16)
    def program(x):
        return mb.ane_rms_norm(x=mb.relu(x=x, name="x"), epsilon=np.float16(1e-6))

    (value,) = [var for var in float_values(program) if var.name == "x"]
    give({value: -6}, Survey(program))
    (norm,) = [op for op in program["main"].operations if op.op_type == "ane_rms_norm"]
    assert float(norm.epsilon.val) == 2.0**-24
