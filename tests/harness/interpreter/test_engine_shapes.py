"""The Neural Engine's published rules on other shapes, axes, batches and spellings than those of their first probes.

G is arXiv 2606.22283 (chapter 3), F is ANEForge (docs/numeric-cliffs.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import coremltools as ct
import numpy as np
import pytest
from coremltools.converters.mil.mil import Builder as mb
from coremltools.converters.mil.mil import types

from harness.interpreter import ReferenceModel

if TYPE_CHECKING:
    from collections.abc import Callable

INF = np.inf
SMALL = 2.0**-24


def run(build: Callable[..., Any], *arrays: Any, policy: str = "m1", opset: Any = ct.target.iOS17) -> list[float]:
    """Return the elements of the one result of a program with float16 inputs."""
    arrays = tuple(np.asarray(array, np.float16) for array in arrays)
    specs = [mb.TensorSpec(array.shape, dtype=types.fp16) for array in arrays]
    model = ReferenceModel(mb.program(input_specs=specs, opset_version=opset)(build), f"ane-{policy}")
    (result,) = model.predict(dict(zip(("x", "y", "z"), arrays, strict=False))).values()
    return np.asarray(result).ravel().tolist()


@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
@pytest.mark.parametrize(("turn_x", "turn_y"), [(False, False), (True, False), (False, True), (True, True)])
def test_a_matmul_has_its_ceiling_in_every_batch_and_transposition(batch, turn_x, turn_y):
    x = np.full(batch + ((2, 1) if turn_x else (1, 2)), 16384.0)
    y = np.ones(batch + ((1, 2) if turn_y else (2, 1)))

    def build(x: Any, y: Any) -> Any:
        return mb.matmul(x=x, y=y, transpose_x=turn_x, transpose_y=turn_y)

    assert set(run(build, x, y, policy="m5")) == {INF}
    x.reshape(-1)[1::2] = 16368
    assert set(run(build, x, y, policy="m5")) == {32752}


def test_a_bias_counts_towards_the_ceiling():
    def build(x: Any) -> Any:
        return mb.linear(x=x, weight=np.ones((1, 2), np.float16), bias=np.array([16], np.float16))

    assert run(build, [[16384, 16352]]) == [32752]
    assert run(build, [[16384, 16368]]) == [INF]


CONVOLUTIONS = {
    "1d": ((2, 4, 3), (1, 4, 1), {}),
    "2d": ((1, 4, 2, 2), (1, 4, 1, 1), {}),
    "3d": ((1, 4, 2, 2, 2), (1, 4, 1, 1, 1), {}),
    "depthwise": ((1, 2, 2, 2), (2, 1, 2, 2), {"groups": 2}),
    "dilated": ((1, 1, 3, 3), (1, 1, 2, 2), {"dilations": [2, 2]}),
    "strided": ((1, 1, 4, 4), (1, 1, 2, 2), {"strides": [2, 2]}),
}


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_every_kind_of_convolution_has_the_ceiling(kind):
    shape, kernel, options = CONVOLUTIONS[kind]

    def build(x: Any) -> Any:
        return mb.conv(x=x, weight=np.ones(kernel, np.float16), **options)

    assert set(run(build, np.full(shape, 8192.0))) == {INF}
    assert set(run(build, np.full(shape, 8188.0))) == {32752}


def test_attention_as_one_op_has_the_ceiling():
    def build(x: Any, y: Any, z: Any) -> Any:
        return mb.scaled_dot_product_attention(query=x, key=y, value=z)

    shapes = np.zeros((1, 1, 1, 2)), np.zeros((1, 1, 2, 2))
    assert run(build, *shapes, np.full((1, 1, 2, 2), 40000.0), opset=ct.target.iOS18) == [INF, INF]


@pytest.mark.parametrize("policy", ["m2", "m5", "m2-pessimistic", "m5-pessimistic"])
@pytest.mark.parametrize(
    ("shape", "axes"), [((1, 2049), [-1]), ((2049, 2), [0]), ((3, 683), [0, 1]), ((683, 2, 3), [0, 2])]
)
def test_a_narrow_sum_of_2049_reads_2050_along_any_axes(shape, axes, policy):
    def build(x: Any) -> Any:
        return mb.reduce_sum(x=x, axes=axes)

    assert set(run(build, np.ones(shape), policy=policy)) == {2050}
    assert set(run(build, -np.ones(shape), policy=policy)) == {-2050}


@pytest.mark.parametrize("policy", ["m2", "m5", "m2-pessimistic", "m5-pessimistic"])
def test_the_published_sweep_of_eight_terms(policy):
    row = np.full((1, 8), 256.0)
    row[0, 0] = 257  # F's sweep: eight terms near total / 8

    def build(x: Any) -> Any:
        return mb.reduce_sum(x=x, axes=[-1])

    assert run(build, np.full((1, 8), 256.0), policy=policy) == [2048]
    assert run(build, row, policy=policy) == [2050]


@pytest.mark.parametrize("policy", ["m1", "m1-pessimistic"])
def test_a_narrow_sum_overflows_on_the_way(policy):
    def build(x: Any) -> Any:
        return mb.reduce_sum(x=x, axes=[-1])

    assert run(build, [[40000, -40000, 40000, -40000]], policy="m1-pessimistic") == [0]
    assert run(build, [[40000, 40000, 40000, 40000]], policy=policy) == [INF]
    assert run(build, [[40000, -30000, 40000, -30000]], policy="m1") == [INF]  # 80,000 less 60,000, in pairs


@pytest.mark.parametrize(("policy", "held"), [("m1", INF), ("m2", INF), ("m4", 5000), ("m5", 5000)])
def test_every_spelling_of_a_slice_past_zero(policy, held):
    pair = np.full((1, 2), 5000.0)

    def dynamic(x: Any) -> Any:
        shape = mb.shape(x=x)
        return mb.slice_by_index(x=x, begin=mb.sub(x=shape, y=np.array([1, 1], np.int32)), end=shape)

    spellings = [
        lambda x: mb.slice_by_index(x=x, begin=[0, 1], end=[1, 2], squeeze_mask=[False, True]),
        lambda x: mb.slice_by_index(x=x, begin=[0, 1], end=[1, 2], squeeze_mask=[True, True]),
        lambda x: mb.slice_by_index(x=x, begin=[0, 1], end=[0, 0], end_mask=[True, True]),
        lambda x: mb.slice_by_index(x=x, begin=[0, -1], end=[1, 2]),
        lambda x: mb.slice_by_size(x=x, begin=[0, 1], size=[1, -1]),
        dynamic,
    ]
    assert [run(build, pair, policy=policy) for build in spellings] == [[held]] * len(spellings)


def test_a_gather_and_a_split_are_no_slices_but_the_pessimistic_split_is():
    pair = np.full((1, 2), 5000.0)

    def split(x: Any) -> Any:
        return mb.concat(values=mb.split(x=x, num_splits=2, axis=-1), axis=-1)

    assert run(lambda x: mb.gather(x=x, indices=np.array([1], np.int32), axis=-1), pair) == [5000]
    assert run(split, pair) == [5000, 5000]
    assert run(split, pair, policy="m1-pessimistic") == [5000, INF]


@pytest.mark.parametrize("policy", ["m1", "m5"])
def test_an_indeterminate_term_of_a_sum_counts_as_zero(policy):
    def linear(x: Any) -> Any:
        return mb.linear(x=x, weight=np.array([[1, 0, 1]], np.float16), bias=np.array([5], np.float16))

    def by(x: Any, y: Any) -> Any:
        return mb.matmul(x=x, y=y)

    assert run(linear, [[1, INF, 2]], policy=policy) == [8]  # 0 * inf
    assert run(linear, [[INF, INF, 2]], policy=policy) == [INF]
    assert run(linear, [[-INF, INF, 2]], policy=policy) == [-INF]
    assert run(linear, [[INF, 7, -INF]], policy=policy) == [5]  # inf - inf, and the bias
    assert run(by, [[0, 5]], [[INF], [1]], policy=policy) == [5]
    assert run(lambda x: mb.reduce_sum(x=x, axes=[-1]), [[INF, -INF, 3]], policy=policy) == [3]


def test_a_masked_infinity_stays_out_of_a_convolution():
    kernel = np.zeros((1, 2, 1, 1), np.float16)
    kernel[0, 0] = 1
    assert run(lambda x: mb.conv(x=x, weight=kernel), np.array([3, INF]).reshape(1, 2, 1, 1)) == [3]


@pytest.mark.parametrize(("policy", "kept"), [("m1", 0.0), ("m5", 1.0)])
def test_a_product_of_small_numbers_follows_the_accumulator(policy, kept):
    def by(x: Any, y: Any) -> Any:
        return mb.matmul(x=x, y=y)

    assert run(by, [[2.0**-10]], [[2.0**-10]], policy=policy) == [kept * 2.0**-20]
    assert run(by, [[SMALL, -3 * SMALL]], [[1], [1]], policy=policy) == [kept * -2 * SMALL]


def test_tables_hold_the_published_values_at_zero_and_infinity():
    assert run(lambda x: mb.log(x=x), [[0.0, -0.0, 1.0]]) == [-45440, -45440, 0]
    assert run(lambda x: mb.softplus(x=x), [[INF, 20]]) == [0, 20]
    assert run(lambda x: mb.softsign(x=x), [[INF]]) == [0]


def test_a_pessimistic_power_of_a_half_is_a_root():
    def power(x: Any) -> Any:
        return mb.pow(x=mb.add(x=x, y=np.float16(1e-6)), y=np.float16(-0.5))

    assert run(power, [[0.0]])[0] == pytest.approx(1000, rel=0.05)
    assert run(power, [[0.0]], policy="m1-pessimistic") == [INF]
