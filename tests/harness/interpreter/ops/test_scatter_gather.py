"""Gathers and scatters against numpy, and the index rules of each opset."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.errors import ExecutorError


def ints(*values: Any) -> Any:
    return np.array(values, np.int32)


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("indices", [np.int32(1), np.array([1, 0, 1], np.int32), np.array([[0, 1], [1, 0]], np.int32)])
def test_gather(run_op: Any, rng: np.random.Generator, axis: int, indices: Any) -> None:
    x = rng.normal(size=(2, 3, 4)).astype(np.float32)
    result = run_op("gather", x=run_op.variable(x), indices=indices, axis=axis)
    np.testing.assert_array_equal(result, np.take(x, indices, axis))


@pytest.mark.parametrize("axis", [1, 2, -1])
def test_gather_with_batch_dims(run_op: Any, rng: np.random.Generator, axis: int) -> None:
    x = rng.normal(size=(2, 3, 3, 4)).astype(np.float32)
    indices = rng.integers(0, 3, size=(2, 5, 2)).astype(np.int32)
    expected = np.stack([np.take(x[b], indices[b], axis if axis < 0 else axis - 1) for b in range(2)])
    result = run_op("gather", x=run_op.variable(x), indices=indices, axis=axis, batch_dims=1)
    np.testing.assert_array_equal(result, expected)


def test_gather_along_axis(run_op: Any, rng: np.random.Generator) -> None:
    x = rng.normal(size=(2, 3, 4)).astype(np.float32)
    indices = rng.integers(-3, 3, size=(2, 5, 4)).astype(np.int32)
    result = run_op("gather_along_axis", x=run_op.variable(x), indices=indices, axis=1, opset=15)
    np.testing.assert_array_equal(result, np.take_along_axis(x, indices, 1))


def test_gather_nd(run_op: Any, rng: np.random.Generator) -> None:
    x = rng.normal(size=(2, 3, 4)).astype(np.float32)
    indices = np.array([[0, 2], [1, 0]], np.int32)
    np.testing.assert_array_equal(run_op("gather_nd", x=run_op.variable(x), indices=indices), x[[0, 1], [2, 0]])
    batched = np.array([[[2], [0]], [[1], [1]]], np.int32)
    expected = np.stack([x[0][[2, 0]], x[1][[1, 1]]])
    np.testing.assert_array_equal(run_op("gather_nd", x=run_op.variable(x), indices=batched, batch_dims=1), expected)


@pytest.mark.parametrize("opset", [15, 16])
def test_an_index_out_of_bounds_is_an_error_up_to_ios16(run_op: Any, opset: int) -> None:
    x = np.arange(3, dtype=np.float32)
    assert run_op("gather", x=run_op.variable(x), indices=ints(-1), opset=opset).tolist() == [2.0]
    with pytest.raises(ExecutorError, match=r"leave \[-3, 3\)"):
        run_op("gather", x=run_op.variable(x), indices=ints(3), opset=opset)


def test_indices_are_checked_from_ios17_only_when_asked(run_op: Any) -> None:
    x = np.arange(3, dtype=np.float32)
    assert run_op("gather", x=run_op.variable(x), indices=ints(-1, 7), opset=17).tolist() == [2.0, 2.0]
    for bad in (-1, 3):
        with pytest.raises(ExecutorError, match=r"leave \[0, 3\)"):
            run_op("gather", x=run_op.variable(x), indices=ints(bad), validate_indices=True, opset=17)


MODES = {
    "update": lambda _, new: new,
    "add": lambda old, new: old + new,
    "sub": lambda old, new: old - new,
    "mul": lambda old, new: old * new,
    "div": lambda old, new: old / new,
    "max": max,
    "min": min,
}


@pytest.mark.parametrize("mode", MODES)
def test_scatter_combines_in_order(run_op: Any, mode: str) -> None:
    data = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], np.float32)
    indices, updates = ints(2, 0, 2), np.array([[2.0, 4.0], [8.0, 0.5], [10.0, 20.0]], np.float32)
    expected = data.astype(np.float64)
    for row, update in zip(indices, updates, strict=True):
        expected[row] = [MODES[mode](a, b) for a, b in zip(expected[row], update, strict=True)]
    result = run_op("scatter", data=run_op.variable(data), indices=indices, updates=updates, mode=mode)
    np.testing.assert_allclose(result, expected, rtol=1e-6)
    nd = run_op("scatter_nd", data=run_op.variable(data), indices=indices[:, None], updates=updates, mode=mode)
    np.testing.assert_allclose(nd, expected, rtol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_scatter_along_axis(run_op: Any, mode: str) -> None:
    data = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], np.float32)
    indices, updates = np.array([[0, 2], [1, 1]], np.int32), np.array([[2.0, 4.0], [8.0, 16.0]], np.float32)
    expected = data.astype(np.float64)
    for row in range(2):
        for index, update in zip(indices[row], updates[row], strict=True):
            expected[row, index] = MODES[mode](expected[row, index], update)
    result = run_op(
        "scatter_along_axis", data=run_op.variable(data), indices=indices, updates=updates, axis=-1, mode=mode
    )
    np.testing.assert_allclose(result, expected, rtol=1e-6)


def test_scatter_adds_by_default_and_leaves_its_input(run_op: Any) -> None:
    data = np.zeros(2, np.int32)
    assert run_op("scatter", data=run_op.variable(data), indices=ints(1, 1), updates=ints(3, 4)).tolist() == [
        0,
        7,
    ]
    assert data.tolist() == [0, 0]


def test_scatter_nd_of_single_elements(run_op: Any) -> None:
    data = np.zeros((2, 3), np.float32)
    result = run_op(
        "scatter_nd",
        data=run_op.variable(data),
        indices=np.array([[1, 2], [0, 0]], np.int32),
        updates=np.array([5.0, 6.0], np.float32),
        mode="update",
    )
    assert result.tolist() == [[6.0, 0.0, 0.0], [0.0, 0.0, 5.0]]


@pytest.mark.parametrize("op_type", ["scatter", "scatter_nd"])
def test_unchecked_updates_out_of_bounds_are_dropped_from_ios17(run_op: Any, op_type: str) -> None:
    data, updates = np.array([1.0, 2.0], np.float32), np.array([10.0, 20.0, 30.0], np.float32)
    indices = ints(-1, 0, 7)
    indices = indices[:, None] if op_type == "scatter_nd" else indices
    given = {"data": run_op.variable(data), "indices": indices, "updates": updates}
    assert run_op(op_type, opset=17, **given).tolist() == [21.0, 2.0]
    with pytest.raises(ExecutorError, match=r"leave \[0, 2\)"):
        run_op(op_type, opset=17, validate_indices=True, **given)
    with pytest.raises(ExecutorError, match=r"leave \[-2, 2\)"):
        run_op(op_type, opset=15, **given)
