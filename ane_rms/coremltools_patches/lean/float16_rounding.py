"""Convert float32 to float16 at memory speed, with exactly the bits that numpy gives.

numpy 2.3 converts an element at a time on x86-64: 1.5 ms for a million elements that are in the cache, where torch's
vectorised conversion takes 0.05 ms. Both round to the nearest, ties to even, and give infinity past 65,520. They differ
in the bits of a NaN, so numpy converts arrays with a NaN. torch is used if it is loaded, as it is whenever a torch
model is converted.
"""

from __future__ import annotations

import ctypes
import sys

import numpy as np


def float16_of(array: np.ndarray) -> np.ndarray:
    """Return ``array.astype(np.float16, order="C")`` of a float32 array, bit for bit, without numpy's warnings."""
    torch = sys.modules.get("torch")
    if torch is None or not array.flags.c_contiguous or not array.flags.aligned or not array.size:
        return _by_numpy(array)
    if np.isnan(array.max()):
        return _by_numpy(array)
    result = np.empty(array.shape, np.float16)
    torch.from_numpy(result.reshape(-1)).copy_(torch.from_numpy(_writable(array)))
    return result


def _by_numpy(array: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore", under="ignore"):
        return array.astype(np.float16, order="C")


def _writable(array: np.ndarray) -> np.ndarray:
    """Return an array's elements as a flat array that torch takes without a warning; it is only read."""
    if array.flags.writeable:
        return array.reshape(-1)
    memory = (ctypes.c_float * array.size).from_address(array.ctypes.data)
    return np.ctypeslib.as_array(memory)
