"""float32 to float16: the bits that numpy gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch  # noqa: F401 - the quick way is taken where torch is loaded

from ane_rms.coremltools_patches.lean import float16_rounding
from ane_rms.coremltools_patches.lean.float16_rounding import float16_of

BOUNDS = np.float32([0.0, 6e-8, 2.9e-8, 3e-8, 6.1e-5, 1.0, 1.00048828125, 2048.5, 65504.0, 65519.99, 65520.0, 3e38])


def expected(array):
    with np.errstate(all="ignore"):
        return array.astype(np.float16)


def assert_same_bits(array):
    found = float16_of(array)
    np.testing.assert_array_equal(found.view(np.uint16), expected(array).view(np.uint16))


def test_bounds_ties_and_infinities():
    near = np.concatenate([BOUNDS, np.nextafter(BOUNDS, np.float32(np.inf)), np.nextafter(BOUNDS, np.float32(0))])
    assert_same_bits(np.concatenate([near, -near, np.float32([np.inf, -np.inf])]))


def test_a_nan_keeps_its_bits():
    assert_same_bits(np.uint32([0x7F800001, 0x7FC12345, 0xFFFFFFFF, 0x3F800000]).view(np.float32))


@pytest.mark.parametrize("stride", [0x1003, 0x2FF1])
def test_bits_all_over_float32(stride):
    assert_same_bits(np.arange(0, 1 << 32, stride, dtype=np.uint64).astype(np.uint32).view(np.float32))


@pytest.mark.parametrize("array", [np.zeros((0, 3)), np.ones(()), np.arange(24.0).reshape(2, 3, 4)[:, ::2]], ids=str)
def test_shapes(array):
    array = array.astype(np.float32)
    assert float16_of(array).shape == array.shape
    assert_same_bits(array)


def test_an_array_that_must_not_be_written_to():
    array = np.arange(10, dtype=np.float32)
    array.flags.writeable = False
    assert_same_bits(array)


def test_without_torch(monkeypatch):
    monkeypatch.setitem(float16_rounding.sys.modules, "torch", None)
    assert_same_bits(BOUNDS)
