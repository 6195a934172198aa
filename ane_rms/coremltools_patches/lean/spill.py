"""Store arrays in files instead of in memory.

A conversion has every weight twice: as PyTorch's float32, and as the float16 that it becomes. The second is written to
a temporary file as it is made, a chunk at a time, and mapped. The mapping is an ordinary array whose pages are read
when accessed and can be released again by :meth:`Spill.release`. An open file has no name, and disappears with its last
array. Each thread of :meth:`Spill.begin` has its own, because the system lets one thread at a time write to a file.
"""

from __future__ import annotations

import mmap
import tempfile
import weakref
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from ane_rms.coremltools_patches.lean.float16_rounding import float16_of
from ane_rms.mapped_arrays import SMALLEST_ELEMENTS, chunks, release

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

THREADS = 2
"""Threads that cast ahead of a conversion: half of the work is the system's, in giving the file its pages."""

AHEAD_ELEMENTS = 1 << 23
"""Elements that these cast at a time. Between two chunks a thread may wait 5 ms for Python code of the conversion."""


@dataclass(slots=True)
class _File:
    stream: IO[bytes]
    end: int = 0


def _place(array: np.ndarray) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    return array.ctypes.data, array.shape, array.strides


class Spill:
    """Temporary files of arrays.

    Parameters
    ----------
    lasting: addresses of arrays that stay as they are while this object exists, such as a module's parameters. Several
        conversions that share this object cast each of them once.
    """

    def __init__(self, lasting: Collection[int] = ()) -> None:
        self._lasting = frozenset(lasting)
        self._kept: dict[tuple[int, tuple[int, ...], tuple[int, ...]], np.ndarray] = {}
        self._begun: dict[tuple[int, tuple[int, ...], tuple[int, ...]], Future[np.ndarray]] = {}
        self._threads: ThreadPoolExecutor | None = None
        self._files: list[IO[bytes]] = []
        self._free: deque[_File] = deque()
        """The files that no thread is writing to."""
        self._maps: dict[int, mmap.mmap] = {}
        self._of: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def begin(self, arrays: Iterable[np.ndarray]) -> None:
        """Begin to cast lasting arrays in threads, in their order, until :meth:`settle`; others are left out.

        A conversion that asks for one then waits for that one, and has the first ones by the time it asks for them.
        """
        self._threads = self._threads or ThreadPoolExecutor(THREADS, "ane_rms_cast")
        for array in arrays:
            place = _place(array)
            if self.takes(array) and place[0] in self._lasting and place not in self._kept and place not in self._begun:
                self._begun[place] = self._threads.submit(self._write, array, AHEAD_ELEMENTS)

    def settle(self) -> None:
        """Forget the arrays of a conversion that has ended, apart from the lasting ones that it has asked for."""
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)
            self._threads = None
        self._begun.clear()
        self._of.clear()

    def close(self) -> None:
        """Accept no more arrays. Existing ones stay readable, because their mappings keep the file."""
        self.settle()
        self._maps.clear()
        self._kept.clear()
        for file in self._files:
            file.close()

    @staticmethod
    def takes(array: Any) -> bool:
        """Return whether an array is float32, and large enough to be worth a mapping."""
        return isinstance(array, np.ndarray) and array.dtype == np.float32 and array.size >= SMALLEST_ELEMENTS

    def float16(self, array: np.ndarray) -> np.ndarray:
        """Return ``array.astype(np.float16)``, shape ``array.shape``, in the file; one result for one array.

        Rounding and infinities are those of ``astype``, without numpy's warning about overflow.
        """
        place = _place(array)
        if place[0] in self._lasting:
            if place not in self._kept:
                begun = self._begun.pop(place, None)
                self._kept[place] = self._write(array) if begun is None else begun.result()
            return self._kept[place]
        known = self._of.get(id(array))
        if known is None:
            # Both are kept alive, so that no other array can get this one's id.
            known = self._of[id(array)] = (array, self._write(array))
        return known[1]

    def release(self, array: np.ndarray) -> None:
        """Release the pages of an array of this file; the next access reads them again."""
        base: Any = array
        while isinstance(base, (np.ndarray, memoryview)):
            base = base.base if isinstance(base, np.ndarray) else base.obj
        if id(base) in self._maps and hasattr(base, "madvise"):  # an array of another file may have unwritten changes
            base.madvise(mmap.MADV_DONTNEED)

    def _write(self, array: np.ndarray, elements: int | None = None) -> np.ndarray:
        file = self._free_file()
        file.end += -file.end % mmap.ALLOCATIONGRANULARITY  # a mapping begins at a page
        file.stream.seek(file.end)
        for chunk in chunks(array, elements):  # the cast has checked that overflows represent infinities
            file.stream.write(float16_of(chunk).data)
        file.stream.flush()
        size_bytes = array.size * np.dtype(np.float16).itemsize
        release(array)
        mapped = mmap.mmap(file.stream.fileno(), size_bytes, offset=file.end, access=mmap.ACCESS_WRITE)
        file.end += size_bytes
        self._free.append(file)
        self._maps[id(mapped)] = mapped
        return np.frombuffer(mapped, np.float16).reshape(array.shape)

    def _free_file(self) -> _File:
        with suppress(IndexError):  # another thread may take the last one between a look and this
            return self._free.pop()
        stream = tempfile.TemporaryFile(prefix="ane_rms_lean_")  # noqa: SIM115 - closed by close
        weakref.finalize(self, stream.close)
        self._files.append(stream)
        return _File(stream)
