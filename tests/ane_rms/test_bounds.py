"""The bounds of the tests of random graphs: they hold what a loop makes of a rounding, and no fault."""

from __future__ import annotations

import coremltools as ct
import numpy as np
import pytest
from coremltools.converters.mil.mil import Builder as mb

from tests.ane_rms.bounds import FLOAT16, FLOAT32, beyond_float16, check_float16, check_values, evaluate
from tests.mil_tools import rms_norm64

WIDTH = 16
STEEPNESS = 128
"""How many times the difference of a norm from a value near it enters the next turn."""


def rows(seed):
    return np.random.default_rng(seed).standard_normal((4, WIDTH)).astype(np.float32)


def loop(x, fault=0.0):
    """Return a program that normalises and enlarges what is left of the norm twice; ``fault`` is the norm's error."""
    near = (rms_norm64(x, None, 1e-3) - 1 / STEEPNESS).astype(np.float32)

    @mb.program(input_specs=[mb.TensorSpec(shape=x.shape)], opset_version=ct.target.iOS17)
    def made(x):
        def body(turn, value):
            mean = mb.reduce_mean(x=mb.square(x=value), axes=[-1], keep_dims=True)
            inverse = mb.rsqrt(x=mb.add(x=mean, y=np.float32(1e-3)), epsilon=np.float32(1e-30))
            norm = mb.mul(x=value, y=inverse, name="norm")
            norm = mb.mul(x=norm, y=np.float32(1 + fault)) if fault else norm
            left = mb.mul(x=mb.sub(x=norm, y=near), y=np.float32(STEEPNESS))
            return mb.add(x=turn, y=np.float32(1)), left

        start = mb.mul(x=mb.reduce_max(x=x, keep_dims=False), y=np.float32(0))
        return mb.while_loop(
            _cond=lambda turn, _: mb.less(x=turn, y=np.float32(1)), _body=body, loop_vars=(start, x), name="y"
        )[1]

    return made


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("fault", "holds"), [(FLOAT32, True), (-FLOAT32, True), (256 * FLOAT32, False)])
def test_values_may_differ_by_what_the_program_makes_of_the_bound_of_a_site(seed, fault, holds):
    x = rows(seed)
    plain = loop(x)
    before, after = evaluate(plain, x), evaluate(loop(x, fault), x)
    if holds:
        check_values(before, after, FLOAT32, plain, x, {"norm"})
    else:
        with pytest.raises(AssertionError):
            check_values(before, after, FLOAT32, plain, x, {"norm"})


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("fault", "holds"), [(-FLOAT16, True), (2.0**-5, False)])
def test_float16_may_differ_by_what_the_program_makes_of_a_rounding(seed, fault, holds):
    x = rows(seed)
    plain = loop(x)
    exact = evaluate(plain, x).values()
    if holds:
        check_float16(exact, plain, loop(x, fault), x, {"norm"})
    else:
        with pytest.raises(AssertionError, match="in float16"):
            check_float16(exact, plain, loop(x, fault), x, {"norm"})


def test_a_known_value_is_rounded_as_the_program_declares():
    x = rows(0)

    @mb.program(input_specs=[mb.TensorSpec(shape=x.shape)], opset_version=ct.target.iOS17)
    def made(x):
        half = mb.cast(x=mb.cast(x=np.float32(1.1), dtype="fp16"), dtype="fp32")
        return mb.mul(x=x, y=half, name="y")

    np.testing.assert_array_equal(evaluate(made, x)["y"], x * np.float64(np.float16(1.1)))


def test_what_reads_a_value_beyond_float16_is_known():
    x = rows(0)

    @mb.program(input_specs=[mb.TensorSpec(shape=x.shape)], opset_version=ct.target.iOS17)
    def made(x):
        large = mb.mul(x=x, y=np.float32(1e6))
        positive = mb.greater(x=mb.reduce_max(x=x, keep_dims=False), y=np.float32(0))
        inner = mb.cond(pred=positive, _true_fn=lambda: mb.tanh(x=large), _false_fn=lambda: mb.tanh(x=x))
        return mb.mul(x=inner, y=np.float32(2)), mb.mul(x=x, y=np.float32(2))

    assert list(beyond_float16(made, made, x)) == [0]
