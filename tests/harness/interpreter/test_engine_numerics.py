"""The probes that published work names a value for, as MIL programs under the policies of the Neural Engine.

G is arXiv 2606.22283, F is ANEForge; each test names the families the value was measured on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import coremltools as ct
import numpy as np
import pytest
from coremltools.converters.mil.mil import Builder as mb
from coremltools.converters.mil.mil import types

from harness.interpreter import ReferenceModel
from harness.interpreter.engine_numerics import load_numerics

if TYPE_CHECKING:
    from collections.abc import Callable

FAMILIES = ("m1", "m2", "m3", "m4", "m5")
OPSETS = [ct.target.iOS15, ct.target.iOS16, ct.target.iOS17, ct.target.iOS18]
INF = np.inf


def run(
    build: Callable[..., Any], *arrays: Any, policy: str, dtype: Any = types.fp16, opset: Any = ct.target.iOS17
) -> np.ndarray:
    """Build a program of these inputs and return its one result under a policy."""
    arrays = tuple(np.asarray(array, types.nptype_from_builtin(dtype)) for array in arrays)
    specs = [mb.TensorSpec(array.shape, dtype=dtype) for array in arrays]
    names = ("x", "y")[: len(arrays)]
    program = mb.program(input_specs=specs, opset_version=opset)(build)
    (result,) = ReferenceModel(program, f"ane-{policy}").predict(dict(zip(names, arrays, strict=True))).values()
    return result


def row(*values: float) -> list[list[float]]:
    return [list(values)]


def multiplied(x: Any) -> Any:
    return mb.matmul(x=x, y=np.full((x.shape[-1], 1), 1.0, types.nptype_from_builtin(x.dtype)))


def linear(x: Any) -> Any:
    return mb.linear(x=x, weight=np.full((1, x.shape[-1]), 1.0, types.nptype_from_builtin(x.dtype)))


def conv(x: Any) -> Any:
    kind = types.nptype_from_builtin(x.dtype)
    return mb.conv(x=mb.reshape(x=x, shape=[1, -1, 1, 1]), weight=np.full((1, x.shape[-1], 1, 1), 1.0, kind))


def conv_transpose(x: Any) -> Any:
    kind = types.nptype_from_builtin(x.dtype)
    return mb.conv_transpose(x=mb.reshape(x=x, shape=[1, -1, 1, 1]), weight=np.full((x.shape[-1], 1, 1, 1), 1.0, kind))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("product", [multiplied, linear, conv, conv_transpose])
@pytest.mark.parametrize("dtype", [types.fp16, types.fp32], ids=["fp16", "fp32"])
@pytest.mark.parametrize("opset", OPSETS, ids=lambda opset: opset.name)
def test_products_end_at_32768(family, product, dtype, opset):
    for values, expected in [((16384, 16368), 32752), ((16384, 16384), INF), ((-16384, -16384), -INF), ((256, 0), 256)]:
        result = run(product, row(*values), policy=family, dtype=dtype, opset=opset)
        assert result.item() == expected, values


@pytest.mark.parametrize("family", FAMILIES)
def test_one_term_is_held_to_the_same_ceiling(family):
    assert run(multiplied, row(32752), policy=family).item() == 32752
    assert run(multiplied, row(32768), policy=family).item() == INF


@pytest.mark.parametrize("family", FAMILIES)
def test_element_wise_and_reductions_have_the_whole_range(family):
    assert run(lambda x: mb.mul(x=x, y=np.float16(2)), row(32752), policy=family).item() == 65504
    assert run(lambda x: mb.add(x=x, y=x), row(32752), policy=family).item() == 65504
    assert run(lambda x: mb.reduce_sum(x=x, axes=[-1]), row(32752, 32752), policy=family).item() == 65504
    assert run(lambda x: mb.reduce_mean(x=x, axes=[-1]), row(65504, 65504), policy=family).item() == 65504
    assert run(lambda x: mb.square(x=x), row(255), policy=family).item() == 65024
    assert run(lambda x: mb.square(x=x), row(256), policy=family).item() == INF


@pytest.mark.parametrize("family", FAMILIES)
def test_matmul_sums_wide_and_reduce_sum_narrow(family):
    def summed(count: int) -> float:
        return run(lambda x: mb.reduce_sum(x=x, axes=[-1]), np.ones((1, count)), policy=family).item()

    assert run(multiplied, np.ones((1, 16384)), policy=family).item() == 16384
    assert [summed(count) for count in (1, 1023, 2047, 2048)] == [1, 1023, 2047, 2048]
    assert summed(2049) == 2050
    assert summed(3000) == 3000


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("op", "expected"),
    [("relu", INF), ("sigmoid", 1.0), ("tanh", 1.0), ("erf", 1.0), ("exp", INF), ("identity", INF), ("square", INF)],
)
def test_nan_is_read_as_infinity(family, op, expected):
    assert run(lambda x: getattr(mb, op)(x=x), row(np.nan), policy=family).item() == expected


@pytest.mark.parametrize("opset", OPSETS, ids=lambda opset: opset.name)
def test_nan_is_infinite_from_a_float32_input(opset):
    def program(x: Any) -> Any:
        return mb.cast(x=mb.add(x=mb.cast(x=x, dtype="fp16"), y=np.float16(0)), dtype="fp32")

    assert run(program, row(np.nan), policy="m1", dtype=types.fp32, opset=opset).item() == INF


def test_a_softmax_gives_a_nan_the_whole_mass():
    assert run(lambda x: mb.softmax(x=x), row(np.nan, 1, 2, 3), policy="m1").tolist() == [[1, 0, 0, 0]]
    assert run(lambda x: mb.softmax(x=x), row(1000, 1, 2, 3), policy="m1").tolist() == [[1, 0, 0, 0]]
    assert run(lambda x: mb.softmax(x=x), row(5, 5, 5, 5), policy="m1").tolist() == [[0.25] * 4]


@pytest.mark.parametrize("family", FAMILIES)
def test_indeterminate_forms_are_zero_without_a_sign(family):
    zeros = [
        run(lambda x, y: mb.sub(x=x, y=y), row(INF), row(INF), policy=family),
        run(lambda x, y: mb.mul(x=x, y=y), row(0), row(INF), policy=family),
        run(lambda x, y: mb.mul(x=x, y=y), row(0), row(-INF), policy=family),
        run(lambda x, y: mb.real_div(x=x, y=y), row(0), row(0), policy=family),
        run(lambda x: mb.sqrt(x=x), row(-1), policy=family),
        run(lambda x: mb.rsqrt(x=x), row(-1), policy=family),
        run(lambda x: mb.log(x=x), row(-1), policy=family),
        run(lambda x, y: mb.matmul(x=x, y=y), row(INF, -INF), [[1], [1]], policy=family),
    ]
    for zero in zeros:
        assert zero.item() == 0
        assert not np.signbit(zero).any()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_zero_loses_its_sign_before_a_reciprocal(family):
    assert run(lambda x: mb.inverse(x=x, epsilon=np.float16(0)), row(-0.0), policy=family).item() == INF
    assert run(lambda x: mb.rsqrt(x=x), row(-0.0), policy=family).item() == INF
    assert run(lambda x: mb.real_div(x=np.float16(1), y=x), row(-0.0), policy=family).item() == INF


SMALL = 2.0**-24


@pytest.mark.parametrize("family", FAMILIES)
def test_subnormals_pass_element_wise_ops(family):
    assert run(lambda x: mb.add(x=x, y=np.float16(0)), row(SMALL), policy=family).item() == SMALL
    assert run(lambda x: mb.mul(x=x, y=np.float16(4)), row(SMALL), policy=family).item() == 4 * SMALL


@pytest.mark.parametrize(("family", "expected"), [("m1", 0.0), ("m5", 2 * SMALL)])
def test_subnormals_in_the_accumulator(family, expected):
    assert run(multiplied, row(SMALL, SMALL), policy=family).item() == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_an_epsilon_below_the_least_normal_number_is_zero_under_a_root(family):
    def root(epsilon: float) -> float:
        return run(lambda x: mb.sqrt(x=mb.add(x=x, y=np.float16(epsilon))), row(0), policy=family).item()

    assert [root(1e-6), root(1e-7)] == [0, 0]
    assert root(1e-4) == pytest.approx(0.01, rel=1e-2)
    assert run(lambda x: mb.rsqrt(x=x, epsilon=np.float16(1e-6)), row(0), policy=family).item() == INF


@pytest.mark.parametrize("opset", OPSETS, ids=lambda opset: opset.name)
@pytest.mark.parametrize(("family", "limited"), [("m1", True), ("m2", True), ("m4", False), ("m5", False)])
def test_a_last_axis_slice_that_begins_past_zero(family, limited, opset):
    values = row(60000, 4094, 4096, -4100, 60000)
    expected = [4094, INF, -INF, INF] if limited else [4094, 4096, -4100, 60000]

    def by_index(x: Any) -> Any:
        return mb.slice_by_index(x=x, begin=[0, 1], end=[1, 5])

    def by_size(x: Any) -> Any:
        return mb.slice_by_size(x=x, begin=[0, 1], size=[1, 4])

    for build in (by_index, by_size):
        assert run(build, values, policy=family, opset=opset)[0].tolist() == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_slices_that_begin_at_zero_or_on_another_axis_are_clean(family):
    values = [[60000.0, 4096.0], [60000.0, -60000.0]]
    first = run(lambda x: mb.slice_by_index(x=x, begin=[0, 0], end=[2, 1]), values, policy=family)
    masked = run(
        lambda x: mb.slice_by_index(x=x, begin=[1, 1], end=[2, 2], begin_mask=[False, True]), values, policy=family
    )
    assert first.ravel().tolist() == [60000, 60000]
    assert masked.tolist() == [[60000, -60000]]


@pytest.mark.parametrize("begin", [-1, 1])
def test_a_slice_from_the_end_begins_past_zero(begin):
    cut = run(lambda x: mb.slice_by_index(x=x, begin=[0, begin], end=[1, 2]), row(1, 5000), policy="m1")
    assert cut.item() == INF
    turned = run(
        lambda x: mb.slice_by_index(x=x, begin=[0, 0], end=[0, 0], stride=[1, -1], end_mask=[True, True]),
        row(5000, 1),
        policy="m1",
    )
    assert turned.tolist() == [[5000]]


@pytest.mark.parametrize("family", FAMILIES)
def test_exp_is_infinite_from_11_094(family):
    assert run(lambda x: mb.exp(x=x), row(11.094), policy=family).item() == INF
    assert np.isfinite(run(lambda x: mb.exp(x=x), row(11.08), policy=family).item())


@pytest.mark.parametrize(
    ("op", "worst", "exact"),
    [
        ("sigmoid", 0.0034, lambda x: 1 / (1 + np.exp(-x))),
        ("tanh", 0.0017, np.tanh),
    ],
)
def test_tables_are_within_the_published_worst_errors(op, worst, exact):
    x = np.linspace(-12, 12, 4801).astype(np.float16)[None]
    error = np.abs(run(lambda x: getattr(mb, op)(x=x), x, policy="m1") - exact(x.astype(np.float64)))
    assert np.max(error) <= worst
    assert op != "sigmoid" or np.max(error) > worst / 4  # a table, not the function


def test_a_float32_op_of_a_mixed_program_is_not_the_engines():
    def program(x: Any) -> Any:
        wide = mb.matmul(x=mb.cast(x=x, dtype="fp32"), y=np.full((2, 1), 1.0, np.float32))
        return mb.cast(x=mb.mul(x=wide, y=np.float32(0.5)), dtype="fp16")

    assert run(program, row(30000, 30000), policy="m1").item() == 30000


def test_the_pessimistic_twin_takes_a_small_epsilon_in_a_norm_for_zero():
    def program(x: Any) -> Any:
        return mb.layer_norm(x=x, axes=[-1], epsilon=np.float16(1e-5))

    values = row(1e-3, -1e-3)
    kept = run(program, values, policy="m1")
    lost = run(program, values, policy="m1-pessimistic")
    assert kept[0, 0] == pytest.approx(1e-3 / np.sqrt(1.1e-5), rel=0.01)
    assert lost[0, 0] == pytest.approx(1.0, rel=1e-3)


def test_the_data_file_says_which_figures_are_derived():
    families = load_numerics()
    assert set(families) == set(FAMILIES)
    assert [families[key].slice_limit for key in FAMILIES] == [4094, 4094, 4094, None, None]
