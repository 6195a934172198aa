"""Random graphs around and across norms: the passes change no value, raise nothing, and change nothing twice.

A graph is drawn op by op from a pool of values of one shape: norms in several spellings, over several axes, gated and
grouped; ordinary ops; look-alikes; intermediates shared, some of them outputs, some inside the branches of a ``cond``
or the body of a ``while_loop``; constants as x. It is executed in float32 before and after.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

import coremltools as ct
import numpy as np
import pytest
from coremltools.converters.mil.mil import Builder as mb
from coremltools.converters.mil.mil.passes.graph_pass import PassOption
from coremltools.converters.mil.mil.passes.pass_registry import PASS_REGISTRY
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ane_rms
from ane_rms import mil
from ane_rms.passes.strategies import STRATEGIES
from harness.interpreter import ReferenceModel
from tests.mil_tools import NE

EPSILON = np.float32(1e-5)
FLOAT32, FLOAT16 = 2.0**-24, 2.0**-11
"""Unit roundoffs."""
ROUNDINGS = 64
"""A graph has at most eight norms of some eight roundings each."""
AMPLIFICATION = 16
"""How much more than a change of its input by one rounding a graph may make of the roundings inside it."""


@dataclass
class Draw:
    """What draws a graph: hypothesis's ``draw``, a generator of constants, and what was drawn."""

    draw: object
    shape: tuple[int, ...]
    generator: np.random.Generator
    norms: int = 0
    """Norms over the last axis, of values that are no constants, outside inner blocks."""
    through_half: bool = False
    nested: bool = False
    axes_of: list[tuple[int, ...]] = field(default_factory=list)

    def one(self, *choices):
        return self.draw(st.sampled_from(choices))

    def flip(self):
        return self.draw(st.booleans())

    def commuted(self, build, x, y):
        return build(x=x, y=y) if self.flip() else build(x=y, y=x)

    def gamma(self, axes, rank):
        """Return a gamma over ``axes``, a number, or one along the first axis as well."""
        kind = self.one("over axes", "over axes", "number", "everywhere")
        if kind == "number":
            return np.float32(self.generator.uniform(0.5, 1.5))
        along = range(rank) if kind == "everywhere" else axes
        shape = [self.shape[axis] if axis in along else 1 for axis in range(rank)]
        value = self.generator.uniform(0.5, 1.5, shape).astype(np.float32)
        return value.reshape(shape[min(axes) :]) if kind == "over axes" else value

    def cast(self, x):
        """Return x through float16 and back."""
        self.through_half = True
        return mb.cast(x=mb.cast(x=x, dtype="fp16"), dtype="fp32")


def squared(x, d):
    kind = d.one("mul", "square", "pow", "abs")
    if kind == "mul":
        return mb.mul(x=x, y=x)
    if kind == "square":
        return mb.square(x=x)
    return mb.pow(x=mb.abs(x=x) if kind == "abs" else x, y=np.float32(2))


def mean_square(x, axes, count, d):
    kind = d.one("mean", "mean", "mean", "sum, divided", "sum, multiplied", "sum_square", "expand")
    axes = [axis - x.rank for axis in axes] if d.flip() else list(axes)
    if kind == "mean":
        return mb.reduce_mean(x=squared(x, d), axes=axes, keep_dims=True)
    if kind == "expand" and x.rank > 1:
        mean = mb.reduce_mean(x=squared(x, d), axes=axes, keep_dims=False)
        return mb.expand_dims(x=mean, axes=axes)
    if kind == "sum_square":
        total = mb.reduce_sum_square(x=x, axes=axes, keep_dims=True)
    else:
        total = mb.reduce_sum(x=squared(x, d), axes=axes, keep_dims=True)
    if kind == "sum, divided":
        return mb.real_div(x=total, y=np.float32(count))
    return d.commuted(mb.mul, total, np.float32(1 / count))


def inverse_root(x, axes, count, d):
    """Return (1 / rms, None) or (None, rms)."""
    mean = mean_square(x, axes, count, d)
    shifted = mean if d.draw(st.integers(0, 9)) == 0 else d.commuted(mb.add, mean, EPSILON)
    kind = d.one("rsqrt", "rsqrt", "pow", "sqrt", "root pow", "inverse", "1 / sqrt")
    if kind == "rsqrt":
        return mb.rsqrt(x=shifted), None
    if kind == "pow":
        return mb.pow(x=shifted, y=np.float32(-0.5)), None
    rms = mb.pow(x=shifted, y=np.float32(0.5)) if kind == "root pow" else mb.sqrt(x=shifted)
    if kind == "inverse":
        return mb.inverse(x=rms, epsilon=np.float32(1e-30)), None
    return (mb.real_div(x=np.float32(1), y=rms), None) if kind == "1 / sqrt" else (None, rms)


def drawn_axes(rank, d):
    """Return the last axis, mostly; else some trailing axes, or any single one."""
    kind = d.one("last", "last", "last", "trailing", "single")
    if kind == "last":
        return (rank - 1,)
    first = d.draw(st.integers(0, rank - 1))
    return tuple(range(first, rank)) if kind == "trailing" else (first,)


def norm(x, other, d):
    """Return an RMSNorm of x as drawn: axes, spelling, gate, and up to two gammas before or after."""
    axes = drawn_axes(x.rank, d)
    count = math.prod(d.shape[axis] for axis in axes)
    if x.val is None and axes == (x.rank - 1,) and not d.nested:
        d.norms += 1
    source = d.cast(x) if d.draw(st.integers(0, 19)) == 0 else x
    if d.draw(st.integers(0, 7)) == 0:
        size = mb.maximum(x=mb.reduce_l2_norm(x=source, axes=list(axes), keep_dims=True), y=np.float32(1e-12))
        value = mb.mul(x=mb.real_div(x=source, y=size), y=np.float32(math.sqrt(count)))
    else:
        inverse, rms = inverse_root(source, axes, count, d)
        where = d.one("none", "none", "gamma on the root", "gamma on x", "gate on x", "gate on the root")
        left = source
        if where == "gamma on x":
            left = d.commuted(mb.mul, source, d.gamma(axes, x.rank))
        elif where == "gate on x":
            left = d.commuted(mb.mul, source, mb.sigmoid(x=other))
        elif inverse is not None and where == "gamma on the root":
            inverse = d.commuted(mb.mul, inverse, d.gamma(axes, x.rank))
        elif inverse is not None and where == "gate on the root":
            inverse = d.commuted(mb.mul, inverse, mb.sigmoid(x=other))
        value = mb.real_div(x=left, y=rms) if inverse is None else d.commuted(mb.mul, left, inverse)
    if d.draw(st.integers(0, 19)) == 0:
        value = d.cast(value)
    for _ in range(d.draw(st.integers(0, 2))):
        value = d.commuted(mb.mul, value, d.gamma(axes, x.rank))
    return d.commuted(mb.mul, value, mb.silu(x=other)) if d.draw(st.integers(0, 4)) == 0 else value


def grouped(x, other, d):
    """Return an RMSNorm of each half of the last axis, gated before, scaled after."""
    width = d.shape[-1]
    if width % 2:
        return norm(x, other, d)
    gated = mb.mul(x=x, y=mb.silu(x=other)) if d.flip() else x
    apart = mb.reshape(x=gated, shape=[*d.shape[:-1], 2, width // 2])
    inverse, rms = inverse_root(apart, (x.rank,), width // 2, d)
    apart = mb.real_div(x=apart, y=rms) if inverse is None else d.commuted(mb.mul, apart, inverse)
    return mb.mul(x=mb.reshape(x=apart, shape=list(d.shape)), y=d.gamma((x.rank - 1,), x.rank))


def look_alike(x, other, d):
    """Return something that resembles an RMSNorm of x and is none."""
    last, width = (x.rank - 1,), d.shape[-1]
    kind = d.one("variance", "other", "cubed", "all axes", "rms", "twice", "no root", "sum", "shared", "product")

    def scaled(mean):
        return mb.mul(x=x, y=mb.rsqrt(x=mb.add(x=mean, y=EPSILON)))

    if kind == "variance":
        centred = mb.sub(x=x, y=mb.reduce_mean(x=x, axes=list(last), keep_dims=True))
        spread = mean_square(centred, last, width, d)
        return scaled(spread) if d.flip() else mb.mul(x=centred, y=mb.rsqrt(x=mb.add(x=spread, y=EPSILON)))
    if kind == "other":
        return scaled(mean_square(mb.tanh(x=other), last, width, d))
    if kind == "cubed":
        return scaled(mb.reduce_mean(x=mb.pow(x=mb.abs(x=x), y=np.float32(3)), axes=list(last), keep_dims=True))
    if kind == "all axes":
        return scaled(mean_square(x, tuple(range(x.rank)), math.prod(d.shape), d))
    if kind == "no root":
        return mb.real_div(x=x, y=mb.add(x=mean_square(x, last, width, d), y=EPSILON))
    if kind == "sum":
        return scaled(mb.reduce_sum(x=squared(x, d), axes=list(last), keep_dims=True))
    if kind == "product":
        gate = mb.sigmoid(x=other)
        return scaled(mb.reduce_mean(x=mb.mul(x=mb.mul(x=x, y=gate), y=x), axes=list(last), keep_dims=True))
    inverse = mb.rsqrt(x=mb.add(x=mean_square(x, last, width, d), y=EPSILON))
    if kind == "twice":  # x / rms^2: the inverse root is a factor two times
        return d.commuted(mb.mul, d.commuted(mb.mul, x, inverse), inverse)
    if kind == "shared":  # the inverse root of one value scales another, and itself as well
        return mb.add(x=mb.mul(x=other, y=inverse), y=mb.mul(x=x, y=inverse))
    return mb.mul(x=x, y=mb.sqrt(x=mb.add(x=mean_square(x, last, width, d), y=EPSILON)))


def ordinary(x, other, d):
    """Return an op that is no part of a norm."""
    kind = d.one("tanh", "add", "gate", "scale", "sub", "relu")
    return {
        "tanh": lambda: mb.tanh(x=x),
        "add": lambda: mb.add(x=x, y=other),
        "gate": lambda: mb.mul(x=x, y=mb.sigmoid(x=other)),
        "scale": lambda: mb.mul(x=x, y=np.float32(0.5)),
        "sub": lambda: mb.sub(x=x, y=other),
        "relu": lambda: mb.relu(x=x),
    }[kind]()


def nested(x, other, given_x, d):
    """Return a norm inside the branch of a ``cond`` or the body of a ``while_loop``."""
    d.nested, before = True, d.nested
    level = mb.reduce_max(x=given_x, keep_dims=False)
    if d.flip():
        pred = mb.greater(x=level, y=np.float32(0))
        value = mb.cond(pred=pred, _true_fn=lambda: norm(x, other, d), _false_fn=lambda: mb.tanh(x=x))
    else:
        _, value = mb.while_loop(
            _cond=lambda i, _: mb.less(x=i, y=np.float32(2)),
            _body=lambda i, v: (mb.add(x=i, y=np.float32(1)), norm(mb.add(x=v, y=x), other, d)),
            loop_vars=(mb.mul(x=level, y=np.float32(0)), x),
        )
    d.nested = before
    return value


STEPS = {"norm": norm, "grouped": grouped, "look-alike": look_alike, "ordinary": ordinary}
KINDS = ("norm", "norm", "norm", "norm", "grouped", "look-alike", "look-alike", "ordinary", "ordinary", "nested")


@st.composite
def programs(draw):
    """Draw (program, what was drawn)."""
    rank = draw(st.integers(1, 5))
    width = draw(st.sampled_from([1, 2, 8, 64]))
    shape = (*(draw(st.integers(1, 3)) for _ in range(rank - 1)), width)
    d = Draw(draw, shape, np.random.default_rng(draw(st.integers(0, 2**16))))

    @mb.program(input_specs=[mb.TensorSpec(shape=shape)], opset_version=ct.target.iOS17)
    def program(x):
        pool = [x, mb.mul(x=x, y=np.float32(1.5))]
        if d.flip():
            constant = mb.const(val=d.generator.standard_normal(shape).astype(np.float32))
            pool += [constant, mb.add(x=x, y=constant)]
        first = len(pool)
        for _ in range(draw(st.integers(1, 6))):
            one, other, kind = d.one(*pool), d.one(*pool), d.one(*KINDS)
            value = nested(one, other, x, d) if kind == "nested" else STEPS[kind](one, other, d)
            pool.append(value)
        kept = draw(st.lists(st.sampled_from(pool[first:]), max_size=2, unique_by=id))
        outputs = [value for value in kept if value is not pool[-1]] + [pool[-1]]
        return tuple(value if value.val is None and d.flip() else mb.add(x=value, y=x) for value in outputs)

    return program, d


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


def evaluate(program, x):
    return {name: value.double().numpy() for name, value in ReferenceModel(program).evaluate({"x": x}).items()}


def op_types(program):
    return Counter(op.op_type for block in mil.blocks(program) for op in block.operations if op.op_type != "const")


def check(drawn, lowering, axes):
    program, d = drawn
    x = rows(d.shape)
    unit = FLOAT16 if d.through_half else FLOAT32
    before, text = evaluate(program, x), str(program)
    moved = [evaluate(program, (x * (1 + sign * 2 * unit)).astype(np.float32)) for sign in (-1, 1)]

    found = ane_rms.find(program, axes=axes)
    assert str(program) == text
    assert len(found.fused) >= d.norms
    assert all(miss.reason and miss.name for miss in found.missed)

    run_passes(program, lowering, axes)
    assert not program.find_ops(op_type="ane_rms_norm")
    after = evaluate(program, x)
    assert list(after) == list(before)
    for name, expected in before.items():
        actual, defined = after[name], ~np.isnan(expected)  # NaN: a zero row, by an epsilon of 0
        size = max(1.0, float(np.abs(expected[defined]).max(initial=0.0)))
        own = max(float(np.nanmax(np.abs(one[name] - expected), initial=0.0)) for one in moved)
        bound = ROUNDINGS * unit * size + AMPLIFICATION * own
        np.testing.assert_allclose(actual[defined], expected[defined], rtol=0, atol=bound)

    again = str(program)
    counts = op_types(program)
    run_passes(program, lowering, axes)
    assert op_types(program) == counts
    if lowering in ("layer_norm", "layer_norm_affine"):  # others leave primitives, which are fused and written again
        assert str(program) == again


LOWERINGS = st.sampled_from(sorted(STRATEGIES))
AXES = st.sampled_from(["last", "any"])
QUIET = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large]}


@given(programs(), LOWERINGS, AXES)
@settings(max_examples=150, derandomize=True, **QUIET)
def test_passes_change_no_value(drawn, lowering, axes):
    check(drawn, lowering, axes)


@pytest.mark.slow
@given(programs(), LOWERINGS, AXES)
@settings(max_examples=3000, **QUIET)
def test_passes_change_no_value_of_thousands(drawn, lowering, axes):
    check(drawn, lowering, axes)
