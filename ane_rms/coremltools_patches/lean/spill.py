"""Store arrays in a file instead of in memory.

A conversion has every weight twice: as PyTorch's float32, and as the float16 that it becomes. The second is written to
a temporary file as it is made, a chunk at a time, and mapped. The mapping is an ordinary array whose pages are read
when accessed and can be released again by :meth:`Spill.release`. The open file has no name, and disappears with the
last array.
"""

from __future__ import annotations

import mmap
import tempfile
import weakref
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from ane_rms.coremltools_patches.lean.float16_rounding import float16_of
from ane_rms.mapped_arrays import SMALLEST_ELEMENTS, chunks, release

if TYPE_CHECKING:
    from collections.abc import Collection


class Spill:
    """A temporary file of arrays.

    Parameters
    ----------
    lasting: addresses of arrays that stay as they are while this object exists, such as a module's parameters. Several
        conversions that share this object cast each of them once.
    """

    def __init__(self, lasting: Collection[int] = ()) -> None:
        self._lasting = frozenset(lasting)
        self._kept: dict[tuple[int, tuple[int, ...], tuple[int, ...]], np.ndarray] = {}
        self._file: IO[bytes] | None = None
        self._end = 0
        self._maps: dict[int, mmap.mmap] = {}
        self._of: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def settle(self) -> None:
        """Forget the arrays of a conversion that has ended, apart from the lasting ones."""
        self._of.clear()

    def close(self) -> None:
        """Accept no more arrays. Existing ones stay readable, because their mappings keep the file."""
        self._maps.clear()
        self._of.clear()
        self._kept.clear()
        if self._file is not None:
            self._file.close()

    @staticmethod
    def takes(array: Any) -> bool:
        """Return whether an array is float32, and large enough to be worth a mapping."""
        return isinstance(array, np.ndarray) and array.dtype == np.float32 and array.size >= SMALLEST_ELEMENTS

    def float16(self, array: np.ndarray) -> np.ndarray:
        """Return ``array.astype(np.float16)``, shape ``array.shape``, in the file; one result for one array.

        Rounding and infinities are those of ``astype``, without numpy's warning about overflow.
        """
        place = (array.ctypes.data, array.shape, array.strides)
        if place[0] in self._lasting:
            if place not in self._kept:
                self._kept[place] = self._write(array)
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

    def _write(self, array: np.ndarray) -> np.ndarray:
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="ane_rms_lean_")  # noqa: SIM115 - closed by close
            weakref.finalize(self, self._file.close)
        self._end += -self._end % mmap.ALLOCATIONGRANULARITY  # a mapping begins at a page
        self._file.seek(self._end)
        for chunk in chunks(array):  # the cast has checked that overflows represent infinities
            self._file.write(float16_of(chunk).data)
        self._file.flush()
        size_bytes = array.size * np.dtype(np.float16).itemsize
        release(array)
        mapped = mmap.mmap(self._file.fileno(), size_bytes, offset=self._end, access=mmap.ACCESS_WRITE)
        self._end += size_bytes
        self._maps[id(mapped)] = mapped
        return np.frombuffer(mapped, np.float16).reshape(array.shape)
