"""Make arrays in mapped files, for conversions that avoid copies of weights in memory.

Inside :func:`in_files`, :func:`made` writes a large array to a temporary file a chunk at a time and maps it. Its pages
are read when accessed, and :func:`release` releases them again. Outside, the array stays in memory. The file has no
name, and disappears with the array.
"""

from __future__ import annotations

import math
import mmap
import tempfile
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

    Array = npt.NDArray[Any]

CHUNK_ELEMENTS = 1 << 20
"""Number of elements converted at a time: 4 MiB of float32, which fit the processor's cache."""

SMALLEST_ELEMENTS = 1 << 16
"""Smaller arrays stay in memory, because a mapping for each would cost more than it saves."""

_in_files: ContextVar[bool] = ContextVar("_in_files", default=False)
_maps: WeakValueDictionary[int, mmap.mmap] = WeakValueDictionary()
"""The mappings made by this module, by id; their pages may be released."""


@contextmanager
def in_files() -> Iterator[None]:
    """Make :func:`made` use files inside a ``with`` block, in this thread."""
    token = _in_files.set(True)
    try:
        yield
    finally:
        _in_files.reset(token)


def made(array: Array, change: Callable[[Array], Array]) -> Array:
    """Return ``change(array)``, of the type and shape of ``array``.

    Parameters
    ----------
    array: the source, which is not changed.
    change: an elementwise function; it is called with pieces of the array.
    """
    if not _in_files.get() or array.size < SMALLEST_ELEMENTS:
        return change(array)
    with tempfile.TemporaryFile(prefix="ane_rms_mapped_") as file:
        for chunk in chunks(array):
            file.write(np.ascontiguousarray(change(chunk)).data)
        file.flush()
        mapped = mmap.mmap(file.fileno(), array.nbytes, access=mmap.ACCESS_READ)
    _maps[id(mapped)] = mapped
    return np.frombuffer(mapped, array.dtype).reshape(array.shape)


def release(array: Array) -> None:
    """Release the pages of an array that :func:`made` mapped; the next access reads them again. Others are kept."""
    base: Any = array
    while isinstance(base, (np.ndarray, memoryview)):
        base = base.base if isinstance(base, np.ndarray) else base.obj
    if _maps.get(id(base)) is base and base is not None and hasattr(base, "madvise"):
        base.madvise(mmap.MADV_DONTNEED)


def chunks(array: Array) -> Iterator[Array]:
    """Yield an array's elements in C order, as views of about ``CHUNK_ELEMENTS``; a scalar gives one piece."""
    if array.flags.c_contiguous:
        flat = array.reshape(-1)
        for start in range(0, flat.size, CHUNK_ELEMENTS):
            yield flat[start : start + CHUNK_ELEMENTS]
    else:
        rows = max(1, CHUNK_ELEMENTS // max(1, math.prod(array.shape[1:])))
        for start in range(0, array.shape[0], rows):
            yield array[start : start + rows]
