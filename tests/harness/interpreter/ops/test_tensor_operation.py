"""Making, joining, splitting, sorting and padding, against numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.errors import ExecutorError


def ints(*values: Any) -> Any:
    return np.array(values, np.int32)


@pytest.mark.parametrize(("lower", "upper"), [(-1, -1), (0, -1), (-1, 0), (0, 0), (1, 2), (2, 0)])
def test_band_part(run_op: Any, lower: int, upper: int) -> None:
    x = np.arange(1, 25, dtype=np.float32).reshape(2, 3, 4)
    m, n = np.indices((3, 4))
    kept = ((lower < 0) | (m - n <= lower)) & ((upper < 0) | (n - m <= upper))
    np.testing.assert_array_equal(run_op("band_part", x=run_op.variable(x), lower=lower, upper=upper), x * kept)


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
def test_cumsum(run_op: Any, exclusive: Any, reverse: Any) -> None:
    x = np.array([[1, 2, 3], [4, 5, 6]], np.int32)
    source = x[:, ::-1] if reverse else x
    expected = np.cumsum(source, axis=1) - (source if exclusive else 0)
    expected = expected[:, ::-1] if reverse else expected
    result = run_op("cumsum", x=run_op.variable(x), axis=1, exclusive=exclusive, reverse=reverse)
    np.testing.assert_array_equal(result, expected)


def test_fill_and_fill_like(run_op: Any) -> None:
    np.testing.assert_array_equal(run_op("fill", shape=ints(2, 3), value=7.0, out="fp32"), np.full((2, 3), 7.0))
    np.testing.assert_array_equal(run_op("fill", shape=ints(2), out="fp32"), np.zeros(2))
    ref = np.zeros((3, 1), np.float16)
    assert run_op("fill_like", ref_tensor=run_op.variable(ref), value=np.int32(2), out="int32").tolist() == [[2]] * 3


def test_non_zero(run_op: Any) -> None:
    x = np.array([[0, 3], [4, 0]], np.int32)
    assert run_op("non_zero", x=run_op.variable(x), out="int32").tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_one_hot(run_op: Any, axis: int) -> None:
    indices = ints(2, 0, 5, -1)  # the last two hit nothing
    result = run_op(
        "one_hot", indices=run_op.variable(indices), one_hot_vector_size=3, axis=axis, on_value=9, off_value=1
    )
    expected = np.where(np.arange(3) == indices[:, None], 9, 1)
    np.testing.assert_array_equal(result, expected.T if axis == 0 else expected)


@pytest.mark.parametrize(
    ("mode", "numpy_mode"), [("constant", "constant"), ("reflect", "reflect"), ("replicate", "edge")]
)
def test_pad(run_op: Any, mode: str, numpy_mode: Any) -> None:
    x = np.arange(12, dtype=np.float32).reshape(1, 3, 4)
    expected = np.pad(x, ((0, 0), (2, 1), (0, 3)), mode=numpy_mode)
    np.testing.assert_array_equal(run_op("pad", x=run_op.variable(x), pad=ints(2, 1, 0, 3), mode=mode), expected)


def test_pad_with_a_value(run_op: Any) -> None:
    x = np.ones((1, 2), np.float32)
    result = run_op("pad", x=run_op.variable(x), pad=ints(0, 0, 1, 0), constant_val=-5.0)
    assert result.tolist() == [[-5.0, 1.0, 1.0]]


@pytest.mark.parametrize(("start", "end", "step"), [(0, 5, 1), (2, 9, 3), (5, 0, -2), (3, 3, 1)])
@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_range_1d(run_op: Any, start: Any, end: Any, step: Any, dtype: Any) -> None:
    result = run_op(
        "range_1d",
        start=dtype(start),
        end=dtype(end),
        step=dtype(step),
        out=np.dtype(dtype).name.replace("float", "fp"),
    )
    np.testing.assert_array_equal(result, np.arange(start, end, step, dtype=dtype))


def test_tile(run_op: Any) -> None:
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(run_op("tile", x=run_op.variable(x), reps=ints(2, 1)), np.tile(x, (2, 1)))


@pytest.mark.parametrize("ascending", [False, True])
def test_argsort_and_topk_keep_the_order_of_equals(run_op: Any, ascending: Any) -> None:
    x = np.array([[3.0, 1.0, 3.0, 2.0], [0.0, 0.0, 0.0, -1.0]], np.float32)
    order = np.argsort(x if ascending else -x, axis=-1, kind="stable")
    np.testing.assert_array_equal(run_op("argsort", x=run_op.variable(x), ascending=ascending, out="int32"), order)
    values, indices = run_op("topk", x=run_op.variable(x), k=2, ascending=ascending, out=("fp32", "int32"))
    np.testing.assert_array_equal(indices, order[:, :2])
    np.testing.assert_array_equal(values, np.take_along_axis(x, order[:, :2], -1))


@pytest.mark.parametrize("ascending", [False, True])
def test_argsort_and_topk_put_nan_last_as_numpy_does(run_op: Any, ascending: Any) -> None:
    x = np.array([2.0, np.nan, np.inf, -np.inf], np.float32)
    order = np.argsort(x if ascending else -x)
    np.testing.assert_array_equal(run_op("argsort", x=run_op.variable(x), ascending=ascending, out="int32"), order)
    values, _ = run_op("topk", x=run_op.variable(x), k=4, ascending=ascending, out=("fp32", "int32"))
    np.testing.assert_array_equal(values, x[order])


def test_topk_variants(run_op: Any) -> None:
    x = np.array([[3, 1], [2, 5]], np.int32)
    assert run_op("topk", x=run_op.variable(x), k=-1, axis=0, return_indices=False).tolist() == [
        [3, 5],
        [2, 1],
    ]
    _, indices = run_op("topk", x=run_op.variable(x), output_indices_dtype="uint16", out=("int32", "uint16"))
    assert indices.dtype == np.uint16
    with pytest.raises(ExecutorError, match="k = 3 exceeds"):
        run_op("topk", x=run_op.variable(x), k=3, out=("int32", "int32"))


def test_concat_stack_and_split(run_op: Any) -> None:
    x, y = np.arange(6, dtype=np.float32).reshape(3, 2), np.arange(6, 12, dtype=np.float32).reshape(3, 2)
    np.testing.assert_array_equal(run_op("concat", values=(x, y), axis=-2), np.concatenate([x, y]))
    assert run_op("concat", values=(x, y), axis=0, interleave=True)[:, 0].tolist() == [0, 6, 2, 8, 4, 10]
    np.testing.assert_array_equal(run_op("stack", values=(x, y), axis=-1), np.stack([x, y], -1))
    first, second = run_op("split", x=run_op.variable(x), axis=0, split_sizes=ints(1, 2), out=("fp32", "fp32"))
    assert (first.shape, second.shape) == ((1, 2), (2, 2))
    with pytest.raises(ExecutorError, match="equal pieces"):
        run_op("split", x=run_op.variable(x), axis=0, num_splits=2, out=("fp32", "fp32"))


def test_shape(run_op: Any) -> None:
    assert run_op("shape", x=run_op.variable(np.zeros((2, 0, 3), np.float32)), out="int32").tolist() == [
        2,
        0,
        3,
    ]
