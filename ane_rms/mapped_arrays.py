"""Map arrays from files, for conversions and rewrites that avoid copies of weights in memory.

:func:`mapped` maps a file that exists. Inside :func:`in_files`, :func:`made` and :func:`gathered` write a large array
to a temporary file a chunk at a time and map it; outside, the array stays in memory. The temporary file has no name,
and disappears with the array. The pages of a mapped array are read when accessed; :func:`release` releases them.
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

from ane_rms.undoing import setting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import IO

    import numpy.typing as npt

    Array = npt.NDArray[Any]

CHUNK_ELEMENTS = 1 << 20
"""Number of elements converted at a time: 4 MiB of float32, which fit the processor's cache."""

SMALLEST_ELEMENTS = 1 << 16
"""Smaller arrays stay in memory, because a mapping for each would cost more than it saves."""

_in_files: ContextVar[object | None] = ContextVar("_in_files", default=None)
"""An object of the block of :func:`in_files`; None outside."""
_maps: WeakValueDictionary[int, mmap.mmap] = WeakValueDictionary()
"""The mappings made by this module, by id; their pages may be released."""


@contextmanager
def in_files() -> Iterator[None]:
    """Make :func:`made` and :func:`gathered` use files inside a ``with`` block, in this thread."""
    with setting(_in_files, object()):
        yield


def made(array: Array, change: Callable[[Array], Array]) -> Array:
    """Return ``change(array)``, of the type and shape of ``array``.

    Parameters
    ----------
    array: the source, which is not changed.
    change: an elementwise function; it is called with pieces of the array.
    """
    if _in_files.get() is None or array.size < SMALLEST_ELEMENTS:
        return change(array)
    return gathered((change(chunk) for chunk in chunks(array)), array.dtype, array.shape)


def gathered(parts: Iterable[Array], dtype: npt.DTypeLike, shape: tuple[int, ...]) -> Array:
    """Return the array of a type and a shape whose elements, in C order, are those of ``parts``."""
    size = math.prod(shape)
    if _in_files.get() is None or size < SMALLEST_ELEMENTS:
        return np.concatenate([part.reshape(-1) for part in parts] or [np.zeros(0, dtype)]).view(dtype).reshape(shape)
    with tempfile.TemporaryFile(prefix="ane_rms_mapped_") as file:
        for part in parts:
            file.write(np.ascontiguousarray(part).data)
        file.flush()
        return mapped(file).view(dtype).reshape(shape)


def mapped(file: IO[bytes]) -> npt.NDArray[np.uint8]:
    """Return the bytes of an open file, which is not empty, as an array that cannot be written to."""
    mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    _maps[id(mapping)] = mapping
    return np.frombuffer(mapping, np.uint8)


def release(array: Array) -> None:
    """Release the pages of an array that this module has mapped; the next access reads them again. Others are kept."""
    base: Any = array
    while isinstance(base, (np.ndarray, memoryview)):
        base = base.base if isinstance(base, np.ndarray) else base.obj
    mapping = _maps.get(id(base))
    if mapping is None or mapping is not base or not hasattr(mapping, "madvise"):
        return
    start = array.__array_interface__["data"][0] - np.frombuffer(mapping, np.uint8).__array_interface__["data"][0]
    before = start % mmap.PAGESIZE
    mapping.madvise(mmap.MADV_DONTNEED, start - before, before + array.nbytes)


def shared(change: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``change``, called once for all arrays over the same memory and the same further arguments."""
    made: dict[tuple[Any, ...], tuple[Array, Any]] = {}

    def changed(array: Array, *arguments: Any) -> Any:
        key = (array.__array_interface__["data"][0], array.shape, array.strides, array.dtype.str, *arguments)
        if key not in made:
            made[key] = (array, change(array, *arguments))  # the array is kept, so that no other gets its memory
        return made[key][1]

    return changed


def chunks(array: Array, elements: int | None = None) -> Iterator[Array]:
    """Yield an array's elements in C order, as views of about ``elements``; a scalar gives one piece.

    Parameters
    ----------
    array: of any shape.
    elements: default: ``CHUNK_ELEMENTS``.
    """
    elements = elements or CHUNK_ELEMENTS
    if array.flags.c_contiguous:
        flat = array.reshape(-1)
        for start in range(0, flat.size, elements):
            yield flat[start : start + elements]
    else:
        rows = max(1, elements // max(1, math.prod(array.shape[1:])))
        for start in range(0, array.shape[0], rows):
            yield array[start : start + rows]
