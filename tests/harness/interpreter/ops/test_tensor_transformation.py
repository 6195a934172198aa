"""Rearrangements against numpy and torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from harness.errors import ExecutorError

DTYPES = [np.float32, np.float16, np.int32, np.int8, np.uint16, np.bool_]


def ints(*values: Any) -> Any:
    return np.array(values, np.int32)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_moves_unchanged(run_op: Any, dtype: Any) -> None:
    x = (np.arange(24).reshape(2, 3, 4) % 2).astype(dtype)
    result = run_op("transpose", x=run_op.variable(x), perm=ints(2, 0, -2), precision="fp16")
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, x.transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("opset", "shape", "expected"),
    [
        (15, (0, -1), None),
        (15, (4, -1, 2), (4, 3, 2)),
        (15, (0, 0, 4), (2, 3, 4)),
        (17, (1, 0, -1, 0), (1, 2, 3, 4)),
        (17, (0, 0, 0, 24), None),
        (17, (0, -1), (3, 8)),
        (15, (1, 0, -1, 0), None),
    ],
)
def test_reshape_zero_counts_from_the_left_then_from_the_right(
    run_op: Any, opset: int, shape: Any, expected: Any
) -> None:
    x = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    if expected is None:
        with pytest.raises(ExecutorError, match="reshape"):
            run_op("reshape", x=run_op.variable(x), shape=ints(*shape), opset=opset)
        return
    result = run_op("reshape", x=run_op.variable(x), shape=ints(*shape), opset=opset)
    np.testing.assert_array_equal(result, x.reshape(expected))


def test_reshape_of_two_dimensions_to_four_in_ios17(run_op: Any) -> None:
    x = np.arange(100, dtype=np.float32).reshape(2, 50)
    assert run_op("reshape", x=run_op.variable(x), shape=ints(1, 0, -1, 0), opset=17).shape == (1, 1, 2, 50)


@pytest.mark.parametrize(("shape", "target"), [((0, 3), (-1, 3)), ((0, 3), (2, -1, 0)), ((0,), (-1,))])
def test_what_is_left_for_a_dimension_of_an_empty_tensor_is_0(run_op: Any, shape: Any, target: Any) -> None:
    x = np.zeros(shape, np.float32)
    result = run_op("reshape", x=run_op.variable(x), shape=ints(*target), opset=17)
    assert result.shape == tuple({-1: 0, 0: 3}.get(n, n) for n in target)


def test_reshape_like(run_op: Any) -> None:
    x = np.arange(6, dtype=np.float32)
    refs = (np.zeros((2, 9), np.float32), np.zeros((4, 3), np.float32))
    result = run_op(
        "reshape_like",
        x=run_op.variable(x),
        ref_tensors=refs,
        begins=(np.int32(0), np.int32(1)),
        ends=(np.int32(1), np.int32(0)),
        end_masks=(np.bool_(False), np.bool_(True)),
    )
    assert result.shape == (2, 3)


def test_expand_dims_and_squeeze(run_op: Any) -> None:
    x = np.zeros((2, 3), np.float32)
    assert run_op("expand_dims", x=run_op.variable(x), axes=ints(0, -1)).shape == (1, 2, 3, 1)
    y = np.zeros((1, 2, 1, 3), np.float32)
    assert run_op("squeeze", x=run_op.variable(y)).shape == (2, 3)
    assert run_op("squeeze", x=run_op.variable(y), axes=ints(-2)).shape == (1, 2, 3)
    assert run_op("squeeze", x=run_op.variable(y), axes=ints(0, 1)).shape == (2, 1, 3)


def test_reverse_and_reverse_sequence(run_op: Any) -> None:
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.testing.assert_array_equal(run_op("reverse", x=run_op.variable(x)), x[::-1, ::-1])
    np.testing.assert_array_equal(run_op("reverse", x=run_op.variable(x), axes=ints(-1)), x[:, ::-1])
    result = run_op("reverse_sequence", x=run_op.variable(x), lengths=ints(0, 3, 4), seq_axis=1, batch_axis=0)
    np.testing.assert_array_equal(result, [[0, 1, 2, 3], [6, 5, 4, 7], [11, 10, 9, 8]])


SLICES = [
    ((0, 1, 0), (2, 3, 4), None),
    ((-1, -2, 0), (-3, -4, 4), (-1, -1, 1)),
    ((0, 2, 3), (2, -4, 0), (1, -1, -2)),
    ((0, 0, 0), (99, 99, 99), (1, 2, 3)),
    ((1, 2, 2), (1, 3, 4), None),
]


@pytest.mark.parametrize(("begin", "end", "stride"), SLICES)
def test_slice_by_index_follows_numpy(run_op: Any, begin: Any, end: Any, stride: Any) -> None:
    x = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    given = {} if stride is None else {"stride": ints(*stride)}
    expected = x[tuple(slice(b, e, s) for b, e, s in zip(begin, end, stride or (1, 1, 1), strict=True))]
    result = run_op("slice_by_index", x=run_op.variable(x), begin=ints(*begin), end=ints(*end), **given)
    np.testing.assert_array_equal(result, expected)


def test_slice_masks(run_op: Any) -> None:
    x = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    result = run_op(
        "slice_by_index",
        x=run_op.variable(x),
        begin=ints(1, 1, 3),
        end=ints(1, 1, 0),
        stride=ints(1, 1, -1),
        begin_mask=np.array([False, False, True]),
        end_mask=np.array([False, True, True]),
        squeeze_mask=np.array([True, False, False]),
    )
    np.testing.assert_array_equal(result, x[1, 1:, ::-1])


def test_a_squeezed_index_out_of_bounds_is_an_error(run_op: Any) -> None:
    x = np.zeros((2, 3), np.float32)
    with pytest.raises(ExecutorError, match="slice_by_index"):
        run_op(
            "slice_by_index",
            x=run_op.variable(x),
            begin=ints(5, 0),
            end=ints(6, 3),
            squeeze_mask=np.array([True, False]),
        )


@pytest.mark.parametrize(("begin", "end", "stride"), SLICES[:4])
def test_slice_update(run_op: Any, begin: Any, end: Any, stride: Any) -> None:
    x = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    index = tuple(slice(b, e, s) for b, e, s in zip(begin, end, stride or (1, 1, 1), strict=True))
    update = -1 - np.arange(x[index].size, dtype=np.float32).reshape(x[index].shape)
    expected = x.copy()
    expected[index] = update
    given = {} if stride is None else {"stride": ints(*stride)}
    variable = run_op.variable(x)
    result = run_op("slice_update", x=variable, update=update, begin=ints(*begin), end=ints(*end), **given)
    np.testing.assert_array_equal(result, expected)
    assert x[0, 0, 0] == 0  # the input is left alone


def test_slice_by_size(run_op: Any) -> None:
    x = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    result = run_op("slice_by_size", x=run_op.variable(x), begin=ints(0, -2, 1), size=ints(1, -1, 2))
    np.testing.assert_array_equal(result, x[:1, -2:, 1:3])


def test_sliding_windows(run_op: Any) -> None:
    x = np.arange(10, dtype=np.float32).reshape(2, 5)
    expected = np.lib.stride_tricks.sliding_window_view(x, 3, axis=1)[:, ::2]
    np.testing.assert_array_equal(run_op("sliding_windows", x=run_op.variable(x), axis=-1, size=3, stride=2), expected)


def test_space_and_depth(run_op: Any, rng: np.random.Generator) -> None:
    x = rng.normal(size=(1, 8, 4, 6)).astype(np.float32)
    shuffled = functional.pixel_shuffle(torch.from_numpy(x), 2).numpy()
    np.testing.assert_array_equal(run_op("pixel_shuffle", x=run_op.variable(x), upscale_factor=2), shuffled)
    back = run_op("pixel_unshuffle", x=run_op.variable(shuffled), downscale_factor=2)
    np.testing.assert_array_equal(back, x)
    spread = run_op("depth_to_space", x=run_op.variable(x), block_size=2)
    # TensorFlow's definition: out[c, 2h+i, 2w+j] = x[(2i+j) C' + c, h, w] with C' = C / 4
    expected = np.zeros((1, 2, 8, 12), np.float32)
    for i in range(2):
        for j in range(2):
            expected[:, :, i::2, j::2] = x[:, (2 * i + j) * 2 : (2 * i + j) * 2 + 2]
    np.testing.assert_array_equal(spread, expected)
    np.testing.assert_array_equal(run_op("space_to_depth", x=run_op.variable(spread), block_size=2), x)


def test_space_and_batch(run_op: Any, rng: np.random.Generator) -> None:
    x = rng.normal(size=(2, 3, 4, 6)).astype(np.float32)
    blocks, paddings = ints(2, 3), np.array([[1, 1], [0, 3]], np.int32)
    spread = run_op("space_to_batch", x=run_op.variable(x), block_shape=blocks, paddings=paddings)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (0, 3)))
    # TensorFlow's definition: batch entry (3 i + j) n + k holds rows i::2 and columns j::3 of entry k
    expected = np.concatenate([padded[:, :, i::2, j::3] for i in range(2) for j in range(3)])
    np.testing.assert_array_equal(spread, expected)
    back = run_op("batch_to_space", x=run_op.variable(spread), block_shape=blocks, crops=paddings)
    np.testing.assert_array_equal(back, x)


def test_flatten2d_and_identity(run_op: Any) -> None:
    x = np.zeros((2, 3, 4), np.float32)
    assert run_op("flatten2d", x=run_op.variable(x), axis=-1).shape == (6, 4)
    assert run_op("identity", x=run_op.variable(x)).shape == x.shape
