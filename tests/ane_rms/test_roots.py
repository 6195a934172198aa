"""Roots of mean squares taken in other ways than by ``sqrt``, and squares summed in other ways: a norm, or a miss."""

from __future__ import annotations

import coremltools as ct
import numpy as np
import pytest
from coremltools.converters.mil.mil import Builder as mb
from coremltools.converters.mil.mil import types

import ane_rms
from tests.ane_rms.finished import rel_l2
from tests.mil_tools import NE, options, predict, rms_norm64

D = 16
SHAPE = (2, 8, D)
EPSILON = 1e-3
X = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)


def number(value):
    return np.float32(value)


def mean(x):
    return mb.reduce_mean(x=mb.square(x=x), axes=[-1], keep_dims=True)


def raised(x):
    return mb.add(x=mean(x), y=number(EPSILON))


def logarithm(x):
    return mb.log(x=raised(x), epsilon=1e-45)


def in_rows(x, shape):
    return mb.matmul(x=mb.reshape(x=x, shape=[2, 8, 1, D]), y=mb.reshape(x=x, shape=shape))


def product_of_rows(x):
    total = mb.mul(x=in_rows(x, [2, 8, D, 1]), y=number(1 / D))
    return mb.sqrt(x=mb.add(x=mb.reshape(x=total, shape=[2, 8, 1]), y=number(EPSILON)))


DIVISORS = {
    "exp of half the logarithm": lambda x: mb.exp(x=mb.mul(x=logarithm(x), y=number(0.5))),
    "exp of the logarithm over 2": lambda x: mb.exp(x=mb.real_div(x=logarithm(x), y=number(2))),
    "exp2 of half the binary logarithm": lambda x: mb.exp2(x=mb.mul(x=logarithm(x), y=number(0.5 / np.log(2)))),
    "the logarithm of the mean, which adds epsilon": lambda x: mb.exp(
        x=mb.mul(x=mb.log(x=mean(x), epsilon=EPSILON), y=number(0.5))
    ),
    "exp of minus half the logarithm": lambda x: mb.inverse(
        x=mb.exp(x=mb.mul(x=logarithm(x), y=number(-0.5))), epsilon=0.0
    ),
    "the mean repeated along the row": lambda x: mb.sqrt(
        x=mb.add(x=mb.tile(x=mean(x), reps=[1, 1, D]), y=number(EPSILON))
    ),
    "an epsilon for each element of the row": lambda x: mb.sqrt(x=mb.add(x=mean(x), y=np.full(SHAPE, EPSILON, "f4"))),
    "an epsilon for each column": lambda x: mb.sqrt(x=mb.add(x=mean(x), y=np.full(D, EPSILON, "f4"))),
    "zeros of the row's shape added": lambda x: mb.add(x=mb.sqrt(x=raised(x)), y=np.zeros(SHAPE, "f4")),
    "the square of the negative": lambda x: mb.sqrt(x=raised(mb.sub(x=number(0), y=x))),
    "rows times themselves as matrices, over d before the axes go": product_of_rows,
}
"""Each is the root of mean(x^2) + epsilon."""


def programmed(function):
    return mb.program(input_specs=[mb.TensorSpec(SHAPE, dtype=types.fp32)], opset_version=ct.target.iOS18)(function)


@pytest.mark.parametrize("name", DIVISORS)
def test_a_root_taken_in_another_way_fuses_to_the_same_values(name):
    def divided(x):
        divisor = DIVISORS[name](x)
        return mb.mul(x=x, y=divisor.op.x) if "minus" in name else mb.real_div(x=x, y=divisor)

    arguments = options(NE, minimum_deployment_target=ct.target.iOS18, compute_precision=ct.precision.FLOAT32)
    model = ane_rms.convert(programmed(divided), **arguments)
    report = ane_rms.report(model)
    assert [site.epsilon for site in report.fused] == [pytest.approx(EPSILON, rel=1e-6)]
    assert report.missed == ()
    assert rel_l2(predict(model, X), rms_norm64(X, None, EPSILON)) < 1e-6


def by_logarithms(x):
    logarithms = mb.mul(x=mb.log(x=mb.abs(x=x), epsilon=1e-30), y=number(2))
    total = mb.reduce_log_sum_exp(x=logarithms, axes=[-1], keep_dims=True)
    return mb.exp(x=mb.mul(x=total, y=number(0.5)))


def by_logarithm_of_sum(x):
    total = mb.reduce_log_sum(x=mb.square(x=x), axes=[-1], keep_dims=True)
    return mb.exp(x=mb.mul(x=total, y=number(0.5)))


def last_of_running_sum(x):
    total = mb.cumsum(x=mb.square(x=x), axis=-1)
    return mb.sqrt(x=mb.slice_by_index(x=total, begin=[0, 0, D - 1], end=[2, 8, D]))


def two_values(x):
    first, second = mb.split(x=x, num_splits=2, axis=-1)
    length = mb.sqrt(x=mb.add(x=mb.square(x=first), y=mb.square(x=second)))
    return mb.concat(values=[length, length], axis=-1)


def deviation_of_doubled(x):
    row = mb.concat(values=[x, mb.mul(x=x, y=number(-1))], axis=-1)
    centred = mb.sub(x=row, y=mb.reduce_mean(x=row, axes=[-1], keep_dims=True))
    return mb.sqrt(x=raised(centred))


MISSED = {
    "the fourth root, squared": (
        lambda x: mb.square(x=mb.pow(x=raised(x), y=number(0.25))),
        "raised to the power of 0.25, not to that of 0.5 or -0.5",
    ),
    "powers that differ": (
        lambda x: mb.pow(x=raised(x), y=np.linspace(0.4, 0.6, 8, dtype="f4").reshape(1, 8, 1)),
        "raised to powers that differ by element",
    ),
    "a sum of exponentials of logarithms": (by_logarithms, "summed by `reduce_log_sum_exp`"),
    "the logarithm of a sum": (by_logarithm_of_sum, "summed by `reduce_log_sum`"),
    "the last of a running sum": (last_of_running_sum, "summed by `cumsum`"),
    "an affine op": (
        lambda x: mb.sqrt(x=mb.linear_activation(x=mean(x), alpha=1.0, beta=EPSILON)),
        "`linear_activation` stands between",
    ),
    "a gather": (
        lambda x: mb.sqrt(x=mb.gather(x=mean(x), indices=np.zeros(1, np.int32), axis=2)),
        "`gather` stands between",
    ),
    "squares of two values": (two_values, "squares of several values are added up"),
    "the deviation of a row and its negative": (deviation_of_doubled, "joined with its negative is a mean square"),
    "the mean repeated along another axis": (
        lambda x: mb.sqrt(x=mb.tile(x=mb.reduce_mean(x=mb.square(x=x), axes=[1], keep_dims=True), reps=[1, 1, 1])),
        "",
    ),
}


@pytest.mark.parametrize("name", MISSED)
def test_a_root_that_is_not_followed_is_a_miss_with_its_reason(name):
    build, reason = MISSED[name]
    report = ane_rms.find(programmed(lambda x: mb.real_div(x=x, y=build(x))))
    assert report.fused == ()
    (miss,) = report.missed
    assert reason in miss.reason


@pytest.mark.parametrize("power", [2.0, -1.0, 3.0])
def test_a_whole_power_of_a_mean_square_is_no_root(power):
    report = ane_rms.find(programmed(lambda x: mb.mul(x=x, y=mb.pow(x=mean(x), y=number(power)))))
    assert (report.fused, report.missed) == ((), ())


@pytest.mark.parametrize("name", ["softmax", "a product of a matrix with itself"])
def test_what_sums_no_squares_is_no_root(name):
    def build(x):
        if name == "softmax":
            return mb.exp(x=mb.sub(x=x, y=mb.reduce_log_sum_exp(x=x, axes=[-1], keep_dims=True)))
        square = mb.slice_by_index(x=x, begin=[0, 0, 0], end=[2, 8, 8])
        return mb.sqrt(x=mb.abs(x=mb.matmul(x=square, y=square)))

    report = ane_rms.find(programmed(build))
    assert (report.fused, report.missed) == ((), ())


def test_the_op_of_an_l2_norm_is_a_lowered_norm_over_one_axis_and_a_miss_over_three():
    def along_one(x):
        return mb.reshape(x=mb.l2_norm(x=mb.reshape(x=x, shape=[16, 1, 1, D]), epsilon=1e-6), shape=list(SHAPE))

    (site,) = ane_rms.find(programmed(along_one)).lowered
    assert (site.form, site.shape, site.axes) == ("l2_norm", SHAPE, (-1,))
    assert site.epsilon == pytest.approx(1e-6 / D)
    report = ane_rms.find(programmed(lambda x: mb.l2_norm(x=x, epsilon=1e-6)))
    assert (report.fused, report.lowered) == ((), ())
    assert ["more axes than the last one" in miss.reason for miss in report.missed] == [True]


def layer_normed(row, gamma=None):
    """Normalise as JAX's programs do: sums times 1 / d, repeated along the row, and constants of the row's shape."""
    shape = [int(n) for n in row.shape]

    def averaged(x):
        total = mb.reshape(x=mb.reduce_sum(x=x, axes=[-1], keep_dims=False), shape=[*shape[:-1], 1])
        return mb.mul(x=total, y=np.full((*shape[:-1], 1), 1 / shape[-1], "f4"))

    centred = mb.sub(x=row, y=mb.tile(x=averaged(row), reps=[1, 1, shape[-1]]))
    root = mb.rsqrt(x=mb.add(x=averaged(mb.mul(x=centred, y=centred)), y=np.full((*shape[:-1], 1), EPSILON, "f4")))
    unit = mb.mul(x=centred, y=mb.tile(x=root, reps=[1, 1, shape[-1]]))
    return unit if gamma is None else mb.mul(x=unit, y=np.broadcast_to(gamma, shape).copy())


def test_a_layer_norm_whose_mean_is_repeated_along_the_row_is_no_rms_norm():
    report = ane_rms.find(programmed(lambda x: layer_normed(x, np.linspace(0.5, 1.5, D, dtype="f4"))))
    assert (report.fused, report.lowered, report.missed) == ((), (), ())


def test_a_norm_lowered_by_hand_may_repeat_its_mean_and_gamma_over_the_rows():
    def build(x):
        row = layer_normed(mb.concat(values=[x, mb.mul(x=x, y=number(-1))], axis=-1))
        half = mb.slice_by_index(x=row, begin=[0, 0, 0], end=list(SHAPE))
        return mb.mul(x=half, y=np.broadcast_to(np.linspace(0.5, 1.5, D, dtype="f4"), SHAPE).copy())

    report = ane_rms.find(programmed(build))
    assert (report.fused, report.missed) == ((), ())
    assert [(site.form, site.has_gamma) for site in report.lowered] == [("layer_norm_primitives", True)]
    assert report.lowered[0].epsilon == pytest.approx(EPSILON)


@pytest.mark.parametrize(("number_after", "kind"), [(None, "rms_norm"), (2.0, "rms_norm"), (D**-0.5, "l2_norm")])
def test_the_number_after_a_lowered_norm_tells_its_kind(number_after, kind):
    def build(x):
        row = mb.layer_norm(x=mb.concat(values=[x, mb.mul(x=x, y=number(-1))], axis=-1), axes=[-1], epsilon=EPSILON)
        half = mb.slice_by_index(x=row, begin=[0, 0, 0], end=list(SHAPE))
        return half if number_after is None else mb.mul(x=half, y=number(number_after))

    assert [site.kind for site in ane_rms.find(programmed(build)).lowered] == [kind]
