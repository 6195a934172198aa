"""One op put in, or put in the place of another, at each stage of a norm: the passes change no value by it.

A norm is five values in a row: the square, its mean, the mean with epsilon, the inverse root, the product with x. Each
mutation acts on one of them, on the value squared or on the value scaled; each replacement computes one of them by
another op. Both programs are executed in float64, and in float16 with sums in float32.
"""

from __future__ import annotations

import copy

import coremltools as ct
import numpy as np
import pytest
from coremltools.converters.mil.mil import Builder as mb

from ane_rms.grammar.deviation import DEVIATION_LIMIT
from ane_rms.scan import scan
from harness.interpreter import ReferenceModel
from harness.interpreter.precision import Precision
from tests.ane_rms.bounds import FLOAT16, FLOAT64, check_float16, evaluate
from tests.ane_rms.root_census import uncovered_roots
from tests.ane_rms.test_random_graphs import run_passes

WIDTH = 4
SHAPE = (4, 4, WIDTH)
"""Axes of one length, so that a value laid out along the wrong one still fits."""
EPSILON = np.float32(1e-3)
STAGES = ("x", "scaled", "square", "mean", "shifted", "root", "norm")


def cut(value):
    """Cut to whole numbers."""
    shifted = mb.add(x=mb.mul(x=value, y=np.float32(2.6)), y=np.float32(0.37))
    return mb.cast(x=mb.cast(x=shifted, dtype="int32"), dtype="fp32")


def three_times_whole(value):
    return mb.cast(x=mb.mul(x=mb.cast(x=value, dtype="int32"), y=np.int32(3)), dtype="fp32")


def large(x, exponent):
    """Return a number of each row, about ``exp(exponent)``: 11 is near float16's largest number."""
    return mb.exp(x=mb.add(x=mb.mul(x=mb.tanh(x=row_sum(x)), y=np.float32(0.01)), y=np.float32(exponent)))


def row_sum(x):
    return mb.reduce_sum(x=x, axes=[-1], keep_dims=True)


def swapped_twice(value):
    return mb.transpose(x=mb.transpose(x=value, perm=[1, 0, 2]), perm=[1, 0, 2])


MUTATIONS = {
    "times 3": lambda v, _: mb.mul(x=v, y=np.float32(3)),
    "times -1": lambda v, _: mb.mul(x=v, y=np.float32(-1)),
    "times 0": lambda v, _: mb.mul(x=v, y=np.float32(0)),
    "over 4": lambda v, _: mb.real_div(x=v, y=np.float32(4)),
    "4 over it": lambda v, _: mb.real_div(x=np.float32(4), y=mb.add(x=mb.abs(x=v), y=np.float32(0.5))),
    "plus 1": lambda v, _: mb.add(x=v, y=np.float32(1)),
    "less 1": lambda v, _: mb.sub(x=v, y=np.float32(1)),
    "1 less it": lambda v, _: mb.sub(x=np.float32(1), y=v),
    "at least 0.25": lambda v, _: mb.maximum(x=v, y=np.float32(0.25)),
    "at most 0.25": lambda v, _: mb.minimum(x=v, y=np.float32(0.25)),
    "clip": lambda v, _: mb.clip(x=v, alpha=0.1, beta=2.0),
    "clip from below": lambda v, _: mb.clip(x=v, alpha=0.1, beta=float(np.finfo(np.float32).max)),
    "absolute": lambda v, _: mb.abs(x=v),
    "relu": lambda v, _: mb.relu(x=v),
    "exp": lambda v, _: mb.exp(x=mb.tanh(x=v)),
    "square": lambda v, _: mb.square(x=v),
    "square root": lambda v, _: mb.sqrt(x=mb.abs(x=v)),
    "inverse": lambda v, _: mb.inverse(x=mb.add(x=mb.abs(x=v), y=np.float32(0.5)), epsilon=np.float32(1e-30)),
    "inverse, guarded": lambda v, _: mb.inverse(x=mb.add(x=mb.abs(x=v), y=np.float32(0.5))),
    "times a number of each position": lambda v, _: mb.mul(
        x=v, y=np.linspace(0.5, 1.5, 4, dtype=np.float32).reshape(1, 4, 1)
    ),
    "plus a number of each position": lambda v, _: mb.add(
        x=v, y=np.linspace(0.5, 1.5, 4, dtype=np.float32).reshape(1, 4, 1)
    ),
    "times equal numbers": lambda v, _: mb.mul(x=v, y=np.full((4, 4, 1), 2, np.float32)),
    "times a value": lambda v, x: mb.mul(x=v, y=mb.sigmoid(x=row_sum(x))),
    "over a value": lambda v, x: mb.real_div(x=v, y=mb.exp(x=mb.tanh(x=row_sum(x)))),
    "plus a value": lambda v, x: mb.add(x=v, y=mb.sigmoid(x=row_sum(x))),
    "times x": lambda v, x: mb.mul(x=v, y=x),
    "float16": lambda v, _: mb.cast(x=mb.cast(x=v, dtype="fp16"), dtype="fp32"),
    "whole numbers": lambda v, _: cut(v),
    "whole numbers, times 3": lambda v, _: three_times_whole(v),
    "over a large value, times another": lambda v, x: mb.mul(x=mb.real_div(x=v, y=large(x, 10.9)), y=large(x, 11.0)),
    "two axes swapped": lambda v, _: mb.transpose(x=v, perm=[1, 0, 2]),
    "two axes swapped twice": lambda v, _: swapped_twice(v),
    "last two axes swapped": lambda v, _: mb.transpose(x=v, perm=[0, 2, 1]) if v.shape[-1] > 1 else v,
    "laid along the last axis": lambda v, _: (
        v if v.shape[-1] > 1 or v.shape[1] == 1 else mb.reshape(x=v, shape=[v.shape[0], 1, 4])
    ),
    "an axis less": lambda v, _: v if v.shape[-1] > 1 else mb.squeeze(x=v, axes=[-1]),
    "positions turned": lambda v, _: mb.reshape(x=mb.transpose(x=v, perm=[1, 0, 2]), shape=list(v.shape)),
    "an axis more and back": lambda v, _: mb.squeeze(x=mb.mul(x=v, y=np.full((1, 1, 1, 1), 0.5, np.float32)), axes=[0]),
    "first and last position swapped": lambda v, _: mb.reverse(x=v, axes=[1]),
    "mean over positions": lambda v, _: mb.reduce_mean(x=v, axes=[1], keep_dims=True),
    "less its mean": lambda v, _: mb.sub(x=v, y=mb.reduce_mean(x=v, axes=[-1], keep_dims=True)),
    "less its mean over positions": lambda v, _: mb.sub(x=v, y=mb.reduce_mean(x=v, axes=[1], keep_dims=True)),
}


REPLACEMENTS = {
    "square": {
        "cube": lambda v, _: mb.pow(x=v, y=np.float32(3)),
        "absolute": lambda v, _: mb.abs(x=v),
        "times its absolute": lambda v, _: mb.mul(x=v, y=mb.abs(x=v)),
        "times its sigmoid": lambda v, _: mb.mul(x=v, y=mb.sigmoid(x=v)),
        "square of its tanh": lambda v, _: mb.square(x=mb.tanh(x=v)),
        "half of a square": lambda v, _: mb.mul(x=v, y=mb.mul(x=v, y=np.float32(0.5))),
        "integers squared": lambda v, _: squared_whole(v),
    },
    "mean": {
        "sum": lambda v, _: mb.reduce_sum(x=v, axes=[-1], keep_dims=True),
        "largest": lambda v, _: mb.reduce_max(x=v, axes=[-1], keep_dims=True),
        "mean over positions": lambda v, _: mb.reduce_mean(x=v, axes=[1], keep_dims=True),
        "mean over two axes": lambda v, _: mb.reduce_mean(x=v, axes=[1, 2], keep_dims=True),
        "mean of the first half": lambda v, _: mb.reduce_mean(
            x=mb.slice_by_size(x=v, begin=[0, 0, 0], size=[4, 4, WIDTH // 2]), axes=[-1], keep_dims=True
        ),
        "sum of squares of it": lambda v, _: mb.reduce_sum_square(x=v, axes=[-1], keep_dims=True),
        "norm of it": lambda v, _: mb.reduce_l2_norm(x=v, axes=[-1], keep_dims=True),
        "mean without its axis, put back": lambda v, _: mb.expand_dims(
            x=mb.reduce_mean(x=v, axes=[-1], keep_dims=False), axes=[-1]
        ),
        "mean without its axis, turned": lambda v, _: mb.expand_dims(
            x=mb.transpose(x=mb.reduce_mean(x=v, axes=[-1], keep_dims=False), perm=[1, 0]), axes=[-1]
        ),
        "mean without its axis": lambda v, _: mb.reduce_mean(x=v, axes=[-1], keep_dims=False),
        "mean without its axis, put back first": lambda v, _: mb.expand_dims(
            x=mb.reduce_mean(x=v, axes=[-1], keep_dims=False), axes=[0]
        ),
        "mean without its axis, put back second": lambda v, _: mb.expand_dims(
            x=mb.reduce_mean(x=v, axes=[-1], keep_dims=False), axes=[1]
        ),
        "mean without its axis, put back by a reshape": lambda v, _: mb.reshape(
            x=mb.reduce_mean(x=v, axes=[-1], keep_dims=False), shape=[1, 4, 4]
        ),
        "mean over the first axis of a transpose": lambda v, _: mb.reduce_mean(
            x=mb.transpose(x=v, perm=[2, 1, 0]), axes=[0], keep_dims=True
        ),
        "mean spread over the first axis": lambda v, _: mb.tile(
            x=mb.reduce_mean(x=v, axes=[0, -1], keep_dims=True), reps=[4, 1, 1]
        ),
        "mean of a transpose": lambda v, _: mb.reduce_mean(
            x=mb.transpose(x=v, perm=[1, 0, 2]), axes=[-1], keep_dims=True
        ),
    },
    "shifted": {
        "less epsilon": lambda v, _: mb.sub(x=v, y=EPSILON),
        "epsilon less it": lambda v, _: mb.sub(x=np.float32(1e4), y=v),
        "times epsilon": lambda v, _: mb.mul(x=v, y=EPSILON),
        "at least epsilon": lambda v, _: mb.maximum(x=v, y=EPSILON),
        "an epsilon of each position": lambda v, _: mb.add(
            x=v, y=np.linspace(0.5, 1.5, 4, dtype=np.float32).reshape(1, 4, 1)
        ),
        "an epsilon of each element": lambda v, _: mb.add(x=v, y=np.linspace(0.5, 1.5, WIDTH, dtype=np.float32)),
        "epsilon with an axis more": lambda v, _: mb.squeeze(
            x=mb.add(x=v, y=np.full((1, 1, 1, 1), EPSILON, np.float32)), axes=[0]
        ),
    },
    "root": {
        "root": lambda v, _: mb.sqrt(x=v),
        "inverse": lambda v, _: mb.inverse(x=v, epsilon=np.float32(1e-30)),
        "power of -0.5": lambda v, _: mb.pow(x=v, y=np.float32(-0.5)),
        "power of -0.25": lambda v, _: mb.pow(x=v, y=np.float32(-0.25)),
        "power of -1.5": lambda v, _: mb.pow(x=v, y=np.float32(-1.5)),
        "guarded by much": lambda v, _: mb.rsqrt(x=v, epsilon=np.float32(0.1)),
        "1 over it, guarded by much": lambda v, _: mb.inverse(x=mb.sqrt(x=v), epsilon=np.float32(0.1)),
        "root of the inverse": lambda v, _: mb.sqrt(x=mb.inverse(x=v, epsilon=np.float32(1e-30))),
    },
}


def squared_whole(value):
    whole = mb.cast(x=mb.mul(x=value, y=np.float32(2.6)), dtype="int32")
    return mb.cast(x=mb.mul(x=whole, y=whole), dtype="fp32")


def program(stage, mutation="", replacement=""):
    """Return a norm of which one value is changed by a mutation, or computed by a replacement.

    ``x`` is the value squared, ``scaled`` the one that the root scales.
    """

    def changed(at, value, x):
        return MUTATIONS[mutation](value, x) if at == stage and mutation else value

    def made_by(at, build, value, x):
        return REPLACEMENTS[at][replacement](value, x) if at == stage and replacement else build(value)

    @mb.program(input_specs=[mb.TensorSpec(shape=SHAPE)], opset_version=ct.target.iOS17)
    def made(x):
        value = made_by("square", lambda v: mb.square(x=v), changed("x", x, x), x)
        value = changed("square", value, x)
        value = made_by("mean", lambda v: mb.reduce_mean(x=v, axes=[-1], keep_dims=True), value, x)
        value = changed("mean", value, x)
        value = made_by("shifted", lambda v: mb.add(x=v, y=EPSILON), value, x)
        value = changed("shifted", value, x)
        value = made_by("root", lambda v: mb.rsqrt(x=v, epsilon=np.float32(1e-30)), value, x)
        norm = mb.mul(x=changed("scaled", x, x), y=changed("root", value, x))
        return mb.mul(x=changed("norm", norm, x), y=np.linspace(0.5, 1.5, WIDTH, dtype=np.float32), name="y")

    return made


X = np.random.default_rng(5).standard_normal(SHAPE).astype(np.float32)
X[0, 1, 0] = 300
X[1, 2] *= np.float32(0.02)


@pytest.mark.parametrize("mutation", MUTATIONS)
@pytest.mark.parametrize("stage", STAGES)
def test_a_mutation_changes_no_value_by_the_passes(stage, mutation):
    check(program(stage, mutation=mutation))


@pytest.mark.parametrize(
    ("stage", "replacement"), [(stage, one) for stage, found in REPLACEMENTS.items() for one in found]
)
def test_another_op_changes_no_value_by_the_passes(stage, replacement):
    check(program(stage, replacement=replacement))


@pytest.mark.parametrize("stage", STAGES)
def test_a_value_and_its_rounding_to_float16_are_two_values(stage):
    """The value squared and the value scaled are one only if neither alone is rounded.

    Between the square and the norm a rounding may be left out, which changes the result by no more than it.
    """
    made = program(stage, mutation="float16")
    exact, before = evaluate(made, X)["y"], as_declared(made)
    run_passes(made, "layer_norm", "any")
    held = np.abs(before - exact) <= 2 * FLOAT16 * np.abs(exact)  # elsewhere float16 does not hold a square
    assert held.mean() > 0.9
    apart = np.abs(as_declared(made) - before)[held]
    assert np.all(apart <= (2.0**-20 if stage in ("x", "scaled") else 1.5 * FLOAT16) * np.abs(exact[held]))


@pytest.mark.parametrize("rounded", ["squared", "factor of the square", "scaled"])
def test_a_multiple_and_its_rounding_to_float16_are_two_values(rounded):
    @mb.program(input_specs=[mb.TensorSpec(shape=SHAPE)], opset_version=ct.target.iOS17)
    def made(x):
        multiple = mb.mul(x=x, y=np.float32(3))
        half = mb.cast(x=mb.cast(x=multiple, dtype="fp16"), dtype="fp32")
        squared = half if rounded == "squared" else multiple
        square = mb.mul(x=squared, y=half if rounded == "factor of the square" else squared)
        mean = mb.reduce_mean(x=square, axes=[-1], keep_dims=True)
        inverse = mb.rsqrt(x=mb.add(x=mean, y=EPSILON), epsilon=np.float32(1e-30))
        return mb.mul(x=half if rounded == "scaled" else multiple, y=inverse)

    found = scan(made, any_axes=True)
    assert (len(found.norms), len(found.refusals)) == (0, 1)


def as_declared(made):
    """Return the value where each value of a program is stored in the type that the program declares."""
    declared = Precision(store="program", compute="fp64", accumulate="fp64")
    return ReferenceModel(made, declared).evaluate({"x": X})["y"].double().numpy()


def check(made):
    plain = copy.deepcopy(made)
    with np.errstate(invalid="ignore"):
        expected = evaluate(made, X)["y"]
        found = scan(made, any_axes=True)
        assert uncovered_roots(made, found) == []
        bound = max((norm.deviation_bound for norm in found.norms), default=0.0)
        assert bound <= DEVIATION_LIMIT
        run_passes(made, "layer_norm", "any")
        actual = evaluate(made, X)["y"]
        defined = np.isfinite(expected)
        gap = np.abs(actual - expected)[defined]
        # Gamma is stored in float32, and multiplied in another order.
        assert np.all(gap <= (bound + 2.0**-22 + FLOAT64) * np.maximum(np.abs(expected[defined]), 1e-3))
        check_float16([expected], plain, made, X, {norm.op.outputs[0].name for norm in found.norms})
