"""Random graphs around and across norms: the passes change no value, raise nothing, and change nothing twice.

A graph is drawn op by op from a pool of values of one shape: norms in several spellings, ordinary ops, look-alikes,
intermediates shared, some of them outputs, some inside the branches of a ``cond`` or the body of a ``while_loop``.
It is executed in float32 before and after.
"""

from __future__ import annotations

import coremltools as ct
import numpy as np
import pytest
from coremltools.converters.mil.mil import Builder as mb
from coremltools.converters.mil.mil.passes.graph_pass import PassOption
from coremltools.converters.mil.mil.passes.pass_registry import PASS_REGISTRY
from hypothesis import given, settings
from hypothesis import strategies as st

import ane_rms
from ane_rms.passes.strategies import STRATEGIES
from harness.interpreter import ReferenceModel
from tests.mil_tools import NE

EPSILON = np.float32(1e-5)
ROUNDING = 2e-5
"""Float32 rounding (6e-8) through up to eight norms, each of which may amplify what came before by its gamma."""


def _mean_square(x, draw):
    square = draw(st.sampled_from(["mul", "square", "pow"]))
    squared = {
        "mul": lambda: mb.mul(x=x, y=x),
        "square": lambda: mb.square(x=x),
        "pow": lambda: mb.pow(x=x, y=np.float32(2)),
    }[square]()
    return mb.reduce_mean(x=squared, axes=[-1], keep_dims=True)


def norm(x, draw, constant):
    """Return an RMSNorm of x in a spelling drawn, with or without gamma, and its inverse root."""
    mean = _mean_square(x, draw)
    shifted = mb.add(x=mean, y=EPSILON) if draw(st.booleans()) else mb.add(x=EPSILON, y=mean)
    root = draw(st.sampled_from(["rsqrt", "sqrt", "pow"]))
    if root == "sqrt":
        value = mb.real_div(x=x, y=mb.sqrt(x=shifted))
    else:
        inverse = mb.rsqrt(x=shifted) if root == "rsqrt" else mb.pow(x=shifted, y=np.float32(-0.5))
        value = mb.mul(x=x, y=inverse) if draw(st.booleans()) else mb.mul(x=inverse, y=x)
    for _ in range(draw(st.integers(0, 2))):
        gamma = constant(draw(st.sampled_from(["vector", "number"])))
        value = mb.mul(x=value, y=gamma) if draw(st.booleans()) else mb.mul(x=gamma, y=value)
    return value


def look_alike(x, draw, constant):
    """Return something that resembles an RMSNorm of x and is none."""
    kind = draw(st.sampled_from(["variance", "other", "cubed", "all axes", "rms"]))
    if kind == "variance":
        mean = mb.reduce_mean(x=x, axes=[-1], keep_dims=True)
        spread = _mean_square(mb.sub(x=x, y=mean), draw)
        return mb.mul(x=x, y=mb.rsqrt(x=mb.add(x=spread, y=EPSILON)))
    if kind == "other":
        return mb.mul(x=x, y=mb.rsqrt(x=mb.add(x=_mean_square(mb.tanh(x=x), draw), y=EPSILON)))
    if kind == "cubed":
        cube = mb.pow(x=mb.abs(x=x), y=np.float32(3))
        return mb.mul(x=x, y=mb.rsqrt(x=mb.add(x=mb.reduce_mean(x=cube, axes=[-1], keep_dims=True), y=EPSILON)))
    if kind == "all axes":
        mean = mb.reduce_mean(x=mb.square(x=x), axes=list(range(x.rank)), keep_dims=True)
        return mb.mul(x=x, y=mb.rsqrt(x=mb.add(x=mean, y=EPSILON)))
    return mb.mul(x=x, y=mb.mul(x=mb.sqrt(x=mb.add(x=_mean_square(x, draw), y=EPSILON)), y=constant("number")))


def ordinary(x, other, draw):
    """Return an op that is no part of a norm."""
    kind = draw(st.sampled_from(["tanh", "add", "gate", "scale", "sub"]))
    return {
        "tanh": lambda: mb.tanh(x=x),
        "add": lambda: mb.add(x=x, y=other),
        "gate": lambda: mb.mul(x=x, y=mb.sigmoid(x=other)),
        "scale": lambda: mb.mul(x=x, y=np.float32(0.5)),
        "sub": lambda: mb.sub(x=x, y=other),
    }[kind]()


@st.composite
def programs(draw):
    """Draw (program, shape)."""
    rank = draw(st.integers(1, 5))
    width = draw(st.sampled_from([1, 2, 8, 64]))
    shape = (*(draw(st.integers(1, 3)) for _ in range(rank - 1)), width)
    generator = np.random.default_rng(draw(st.integers(0, 2**16)))

    def constant(kind):
        value = generator.uniform(0.5, 1.5, width).astype(np.float32)
        return value if kind == "vector" else np.float32(value[0])

    def step(pool):
        x, other = draw(st.sampled_from(pool)), draw(st.sampled_from(pool))
        kind = draw(st.sampled_from(["norm", "norm", "norm", "look-alike", "ordinary", "ordinary"]))
        if kind == "norm":
            return norm(x, draw, constant)
        return look_alike(x, draw, constant) if kind == "look-alike" else ordinary(x, other, draw)

    def nested(pool):
        x = draw(st.sampled_from(pool))
        if draw(st.booleans()):
            flag = mb.greater(x=mb.reduce_max(x=x, keep_dims=False), y=np.float32(0))
            return mb.cond(pred=flag, _true_fn=lambda: norm(x, draw, constant), _false_fn=lambda: mb.tanh(x=x))
        _, value = mb.while_loop(
            _cond=lambda i, _: mb.less(x=i, y=np.float32(2)),
            _body=lambda i, v: (mb.add(x=i, y=np.float32(1)), norm(mb.add(x=v, y=x), draw, constant)),
            loop_vars=(mb.mul(x=mb.reduce_max(x=x, keep_dims=False), y=np.float32(0)), x),
        )
        return value

    @mb.program(input_specs=[mb.TensorSpec(shape=shape)], opset_version=ct.target.iOS17)
    def program(x):
        pool = [x, mb.mul(x=x, y=np.float32(1.5))]
        if draw(st.booleans()):
            pool.append(mb.add(x=x, y=mb.const(val=generator.standard_normal(shape).astype(np.float32))))
        for _ in range(draw(st.integers(1, 6))):
            pool.append(nested(pool) if draw(st.integers(0, 9)) == 0 else step(pool))
        kept = draw(st.lists(st.sampled_from(range(2, len(pool))), max_size=2, unique=True))
        outputs = [pool[i] for i in kept if i != len(pool) - 1] + [pool[-1]]
        return tuple(mb.identity(x=value) for value in outputs)

    return program, shape


def run_passes(program, lowering, axes):
    for name, chosen in (
        ("common::fuse_rms_norm", {"compute_units": NE, "axes": axes}),
        ("common::lower_ane_rms_norm_to_layer_norm", {"compute_units": NE, "lowering": lowering}),
        ("common::expand_ane_rms_norm", {}),
    ):
        graph_pass = PASS_REGISTRY[name]
        graph_pass.set_options([PassOption(key, value) for key, value in chosen.items()])
        graph_pass(program)
        program.validate()


def rows(shape, seed=0):
    """Return rows of N(0, 1), one of them zeros, one with a spike."""
    x = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    flat = x.reshape(-1, shape[-1])
    if len(flat) > 1:
        flat[1] = 0
    if len(flat) > 2:
        flat[2, 0] = 300
    return x


def check(drawn, lowering, axes):
    program, shape = drawn
    PASS_REGISTRY["common::dead_code_elimination"](program)  # as in a conversion: no site is counted that nobody reads
    x = rows(shape)
    before = ReferenceModel(program).evaluate({"x": x})
    text = str(program)
    found = ane_rms.find(program, axes=axes)
    assert str(program) == text
    run_passes(program, lowering, axes)
    assert not program.find_ops(op_type="ane_rms_norm")
    if lowering in ("layer_norm", "layer_norm_affine"):
        assert ("layer_norm" in str(program)) is bool(found.fused)
    after = ReferenceModel(program).evaluate({"x": x})
    assert list(after) == list(before)
    for name, value in before.items():
        expected, actual = value.double().numpy(), after[name].double().numpy()
        scale = max(1.0, float(np.abs(expected).max(initial=0.0)))
        np.testing.assert_allclose(actual, expected, rtol=ROUNDING, atol=ROUNDING * scale)
    again = str(program)
    if lowering in ("layer_norm", "layer_norm_affine", "l2_norm"):  # the others leave primitives, which fuse again
        run_passes(program, lowering, axes)
        assert str(program) == again


LOWERINGS = st.sampled_from(sorted(STRATEGIES))
AXES = st.sampled_from(["last", "any"])


@given(programs(), LOWERINGS, AXES)
@settings(max_examples=120, deadline=None, derandomize=True)
def test_passes_change_no_value(drawn, lowering, axes):
    check(drawn, lowering, axes)


@pytest.mark.slow
@given(programs(), LOWERINGS, AXES)
@settings(max_examples=3000, deadline=None)
def test_passes_change_no_value_of_thousands(drawn, lowering, axes):
    check(drawn, lowering, axes)
