"""Arrays made in a file are those made in memory, and take none of it once released."""

from __future__ import annotations

import gc
import mmap

import numpy as np
import pytest

from ane_rms.mapped_arrays import SMALLEST_ELEMENTS, in_files, made, release


def backing(array):
    while isinstance(array, (np.ndarray, memoryview)):
        array = array.base if isinstance(array, np.ndarray) else array.obj
    return array


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_large_array_is_mapped_and_equal(dtype, order):
    array = np.asarray(np.arange(3 * SMALLEST_ELEMENTS).reshape(3, -1) % 7, dtype=dtype, order=order)
    with in_files():
        found = made(array, lambda part: part * dtype(2))
    assert isinstance(backing(found), mmap.mmap)
    np.testing.assert_array_equal(found, array * 2)
    release(found)
    np.testing.assert_array_equal(found, array * 2)
    assert found.dtype == dtype


@pytest.mark.parametrize("size", [0, 1, SMALLEST_ELEMENTS - 1])
def test_a_small_array_stays_in_memory(size):
    with in_files():
        assert not isinstance(backing(made(np.ones(size, np.float32), np.negative)), mmap.mmap)


def test_outside_the_block_nothing_is_mapped():
    assert not isinstance(backing(made(np.ones(SMALLEST_ELEMENTS, np.float32), np.negative)), mmap.mmap)


def test_releasing_an_array_of_memory_does_nothing():
    array = np.ones(4)
    release(array)
    gc.collect()
    np.testing.assert_array_equal(array, 1)
