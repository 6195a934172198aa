"""What the policies store, compute and accumulate in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.errors import UnknownNameError
from harness.interpreter.precision import POLICIES, Precision, resolve_precision

AXES = np.array([-1], np.int32)
LARGEST = 65504.0
HALF_ULP = 2.0**-11


def running_sum(values: Any) -> np.float16:
    """Sum in numpy's float16, one addition after the other."""
    total = np.float16(0)
    for value in values:
        with np.errstate(over="ignore"):
            total = np.float16(np.float32(total) + np.float32(value))
    return total


def test_policies_resolve_by_name_and_pass_as_objects() -> None:
    assert resolve_precision("fp16") is POLICIES["fp16"]
    own = Precision("fp16", "fp64", "fp16-blocked", flush_subnormals=True)
    assert resolve_precision(own) is own


def test_an_unknown_policy_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown precision 'fp61'.*fp16"):
        resolve_precision("fp61")
    with pytest.raises(UnknownNameError, match="unknown accumulate type 'fp16'"):
        Precision("program", "fp32", "fp16")


def test_a_spike_collapses_in_two_ops_and_survives_in_one(run_op: Any) -> None:
    row = np.full((1, 64), 0.5, np.float16)
    row[0, 7] = 300.0
    squares = run_op("mul", x=run_op.variable(row), y=row, precision="fp16")
    mean = run_op("reduce_mean", x=run_op.variable(squares), axes=AXES, keep_dims=True, precision="fp16")
    root = run_op("rsqrt", x=run_op.variable(mean), precision="fp16")
    assert np.isinf(mean).all()
    assert not run_op("mul", x=run_op.variable(row), y=root, precision="fp16").any()  # the whole row is zeros
    wide = row.astype(np.float64)
    expected = wide / np.sqrt((wide**2).mean() + 1e-5)
    one_op = run_op("ane_rms_norm", x=run_op.variable(row), axes=AXES, precision="fp16")
    np.testing.assert_allclose(one_op, expected, rtol=HALF_ULP)


@pytest.mark.parametrize("precision", POLICIES)
@pytest.mark.parametrize("row", [[0.0] * 8, [LARGEST] * 8, [3.0], [0.0]], ids=["zeros", "largest", "d1", "d1 zero"])
def test_rms_norm_of_edge_rows(run_op: Any, precision: str, row: list[float]) -> None:
    x = np.array([row], np.float16)
    for epsilon in (0.0, 1e-5):
        result = run_op("ane_rms_norm", x=run_op.variable(x), epsilon=epsilon, precision=precision)
        if not any(row):
            assert np.isnan(result).all() if epsilon == 0 and "ane" not in precision else not result.any()
        elif row[0] == LARGEST and precision in ("fp16-sequential", "fp16-blocked"):
            assert not result.any()  # the squares overflow a float16 accumulator: 1 / sqrt(inf) is 0
        else:
            np.testing.assert_allclose(result, np.ones((1, len(row))), rtol=2 * HALF_ULP)


def test_a_sequential_sum_stagnates_and_a_blocked_one_does_not(run_op: Any) -> None:
    ones = np.ones((1, 4096), np.float16)
    totals = {
        name: run_op("reduce_sum", x=run_op.variable(ones), axes=AXES, precision=name).item() for name in POLICIES
    }
    assert totals["fp16-sequential"] == 2048.0  # 2048 + 1 rounds back to 2048
    assert totals["fp16-blocked"] == totals["fp16"] == totals["fp32"] == totals["fp64"] == 4096.0


def test_sequential_sums_are_numpy_float16_sums(run_op: Any, rng: np.random.Generator) -> None:
    x = rng.normal(size=(3, 200)).astype(np.float16)
    result = run_op("reduce_sum", x=run_op.variable(x), axes=AXES, precision="fp16-sequential")
    np.testing.assert_array_equal(result, [running_sum(row) for row in x])


def test_a_sequential_matmul_accumulates_products_in_float16(run_op: Any, rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(2, 50)).astype(np.float16), rng.normal(size=(50, 3)).astype(np.float16)
    result = run_op("matmul", x=run_op.variable(x), y=run_op.variable(y), precision="fp16-sequential")
    products = x.astype(np.float32)[:, :, None] * y.astype(np.float32)[None]
    expected = [[running_sum(products[i, :, j]) for j in range(3)] for i in range(2)]
    np.testing.assert_array_equal(result, expected)
    weight = np.ascontiguousarray(y.T)
    linear = run_op("linear", x=run_op.variable(x), weight=weight, precision="fp16-sequential")
    np.testing.assert_array_equal(linear, expected)


def test_blocked_sums_add_runs_of_sixteen_pairwise(run_op: Any, rng: np.random.Generator) -> None:
    x = rng.normal(size=64).astype(np.float16)
    runs = [running_sum(x[i : i + 16]) for i in range(0, 64, 16)]
    expected = np.float16(np.float16(runs[0] + runs[1]) + np.float16(runs[2] + runs[3]))
    result = run_op("reduce_sum", x=run_op.variable(x[None]), axes=AXES, precision="fp16-blocked")
    assert result.item() == expected


def test_a_float32_op_keeps_its_accumulator(run_op: Any) -> None:
    ones = np.ones((1, 4096), np.float32)
    assert run_op("reduce_sum", x=run_op.variable(ones), axes=AXES, precision="fp16-sequential").item() == 4096.0


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 2e-7), ("fp64", 1e-15)])
def test_wide_policies_ignore_the_declared_type_until_the_end(run_op: Any, precision: str, tolerance: float) -> None:
    x = np.array([300.0, 0.1], np.float16)
    result = run_op("square", x=run_op.variable(x), out="fp64", precision=precision)
    np.testing.assert_allclose(result, x.astype(np.float64) ** 2, rtol=tolerance)


def test_subnormals_are_flushed_on_demand(run_op: Any) -> None:
    x = np.array([2.0**-14, 2.0**-15, -(2.0**-24)], np.float16)
    flushing = Precision("program", "fp32", "fp32", flush_subnormals=True)
    kept = run_op("identity", x=run_op.variable(x), precision="fp16")
    np.testing.assert_array_equal(kept, x)
    np.testing.assert_array_equal(run_op("identity", x=run_op.variable(x), precision=flushing), [2.0**-14, 0.0, 0.0])


def test_store_fp16_rounds_a_float32_program(run_op: Any) -> None:
    x = np.array([300.0, 1 / 3], np.float32)
    result = run_op("square", x=run_op.variable(x), precision=Precision("fp16", "fp32", "fp32"))
    third = np.float64(np.float16(1 / 3))
    np.testing.assert_array_equal(result, np.array([np.inf, third**2], np.float16).astype(np.float32))


def test_cumulative_sums_and_softmax_follow_the_accumulator(run_op: Any) -> None:
    ones = np.ones((1, 3000), np.float16)
    sums = run_op("cumsum", x=run_op.variable(ones), axis=1, precision="fp16-sequential")
    assert sums[0, -1] == 2048.0
    flat = run_op("softmax", x=run_op.variable(np.zeros((1, 3000), np.float16)), precision="fp16-sequential")
    np.testing.assert_allclose(flat, 1 / 2048, rtol=HALF_ULP)  # the denominator stagnates at 2048


@pytest.mark.parametrize("op_type", ["slice_update", "scatter"])
def test_writing_into_a_large_float16_constant_loses_nothing(run_op: Any, op_type: str) -> None:
    data = np.zeros((300, 300), np.float16)  # large enough to be kept as it is under fp32
    update = run_op.variable(np.full((1, 300), 1e6, np.float32))
    if op_type == "scatter":
        given = {"data": data, "indices": np.array([2], np.int32), "updates": update, "mode": "update"}
    else:
        ends = {"begin": np.array([2, 0], np.int32), "end": np.array([3, 300], np.int32)}
        given = {"x": data, "update": update, **ends}
    result = run_op(op_type, out="fp32", **given)
    assert result[2, 0] == 1e6
    assert result[1, 0] == 0
