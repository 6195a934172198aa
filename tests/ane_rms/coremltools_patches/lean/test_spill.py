"""Arrays in a file: what ``astype(float16)`` gives, readable after the file is closed."""

from __future__ import annotations

import gc
from collections import deque

import numpy as np
import pytest

from ane_rms.coremltools_patches.lean import spill
from ane_rms.coremltools_patches.lean.cast import overflows
from ane_rms.coremltools_patches.lean.spill import Spill

ARRAYS = {
    "a vector": np.linspace(-9, 9, 1001, dtype=np.float32),
    "three axes": np.linspace(-9, 9, 1001 * 6, dtype=np.float32).reshape(2, 1001, 3),
    "transposed": np.linspace(-9, 9, 35, dtype=np.float32).reshape(5, 7).T,
    "strided": np.linspace(-9, 9, 100, dtype=np.float32).reshape(10, 10)[::3, 1::2],
    "special": np.float32([np.inf, -np.inf, np.nan, 1e30, 1e-30, 65519.9, 65520.0, -0.0]),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_the_file_holds_what_astype_gives(name):
    store = Spill()
    result = store.float16(ARRAYS[name])
    with np.errstate(over="ignore"):
        expected = ARRAYS[name].astype(np.float16)
    assert result.dtype == np.float16
    assert result.tobytes() == expected.tobytes()
    assert result.shape == expected.shape
    store.close()


def test_the_same_array_is_written_once():
    store = Spill()
    one = ARRAYS["a vector"]
    assert store.float16(one) is store.float16(one)
    assert store.float16(one.copy()) is not store.float16(one)
    store.close()


def test_released_and_closed_the_array_stays_readable_and_writable():
    store = Spill()
    array = ARRAYS["a vector"]
    result = store.float16(array)
    result[0] = 3.0
    store.release(result)
    assert result[0] == 3.0
    store.close()
    del store
    gc.collect()
    np.testing.assert_array_equal(result[1:], array.astype(np.float16)[1:])


def test_an_array_of_another_file_is_not_released(tmp_path):
    """Its unwritten changes would be lost."""
    np.zeros(4096, np.float16).tofile(tmp_path / "weights")
    other = np.memmap(tmp_path / "weights", np.float16, "c")
    other[0] = 3.0
    Spill().release(other)
    assert other[0] == 3.0


@pytest.mark.parametrize("elements", [spill.SMALLEST_ELEMENTS - 1, spill.SMALLEST_ELEMENTS])
def test_small_arrays_stay_in_memory(elements, monkeypatch):
    monkeypatch.undo()
    assert Spill.takes(np.zeros(elements, np.float32)) == (elements >= 1 << 16)
    assert not Spill.takes(np.zeros(elements, np.float64))
    assert not Spill.takes(np.float32(1.0))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([65504.0, -65504.0], False),
        ([65504.01, 0.0], True),
        ([-65505.0], True),
        ([np.inf, -np.inf, 1e38], False),
        ([9.9e37], True),
        ([np.nan], False),
        ([np.nan, 70000.0], True),
        ([], False),
    ],
)
def test_overflows(values, expected):
    """By coremltools' own rule: ``max(|v| where |v| < 1e38) > 65504``."""
    array = np.asarray([0.0] * 20 + values, np.float32)
    magnitude = np.abs(array)
    assert bool(magnitude[magnitude < 1e38].max() > 65504) == expected
    assert overflows(array) == expected
    assert overflows(np.asarray(values, np.float32)) == expected


def test_a_lasting_array_is_written_once_whatever_object_shows_it():
    one = ARRAYS["a vector"]
    store = Spill({one.ctypes.data})
    first = store.float16(one)
    store.settle()
    assert store.float16(one.view()) is first
    assert store.float16(one[:10]).shape == (10,)
    assert first.tobytes() == one.astype(np.float16).tobytes()
    store.close()


def test_a_passing_array_is_forgotten_when_its_conversion_ends():
    """Another array may get its address."""
    store = Spill()
    array = ARRAYS["a vector"].copy()
    before = store.float16(array)[0]
    store.settle()
    array[0] = 3.0
    assert (before, store.float16(array)[0]) == (-9.0, 3.0)
    store.close()


def test_the_file_is_closed_with_its_store():
    store = Spill()
    store.float16(ARRAYS["a vector"])
    (file,) = store._files
    del store
    gc.collect()
    assert file.closed


def test_arrays_cast_ahead_are_those_that_a_conversion_gets(monkeypatch):
    written = []
    write = Spill._write
    monkeypatch.setattr(Spill, "_write", lambda *given: written.append(given[1]) or write(*given))
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=(7, number * 5)).astype(np.float32) for number in range(1, 40)]
    passing = weights.pop()
    store = Spill({weight.ctypes.data for weight in weights})
    store.begin([*weights, passing, weights[0], ARRAYS["a vector"].astype(np.float64)])
    for weight in reversed(weights):
        assert store.float16(weight.view()).tobytes() == weight.astype(np.float16).tobytes()
    assert len(written) == len(weights)
    store.settle()
    assert store.float16(passing).tobytes() == passing.astype(np.float16).tobytes()
    store.close()


def test_an_array_that_is_not_asked_for_is_not_cast_after_the_conversion():
    weights = [np.ones(1 << 20, np.float32) for _ in range(30)]
    store = Spill({weight.ctypes.data for weight in weights})
    store.begin(weights)
    first = store.float16(weights[0])
    store.settle()
    assert len(store._maps) < len(weights)
    assert store.float16(weights[0]) is first
    assert store.float16(weights[-1])[0] == 1.0
    store.close()


def test_a_file_that_another_thread_takes_first_is_replaced_by_a_new_one():
    class Contended(deque):
        def __len__(self):
            return 1  # as it was when this thread looked

    store = Spill()
    store._free = Contended()
    array = ARRAYS["a vector"]
    assert store.float16(array).tobytes() == array.astype(np.float16).tobytes()
    store.close()
