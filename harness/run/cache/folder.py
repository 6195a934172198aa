"""The cache on disk: an entry is complete or absent, and is read only if its bytes are those that were written.

::

    <root>/entries/<key>/entry.json          facts, and size and SHA-256 of every other file, sealed by its own SHA-256
                         model.mlpackage/    the package
                         arrays.npz          inputs, expected logits
    <root>/writing/<name>/                   entries being written, each beside its lock

An entry is written in ``writing``, flushed to the disk, and renamed: a run that is killed leaves nothing half-written,
and the next run removes its leftovers, whose lock nobody holds any more. A reader holds a lock on its entry, which
pruning respects. Two processes that make the same entry make equal ones; the first one stays.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.errors import OutputError
from harness.run.cache.file_locks import flush, flush_one, is_at, lock_file
from harness.run.cache.index import (
    INDEX,
    Listed,
    UnusableError,
    check_files,
    read_index,
    size_bytes,
    title_of,
    write_index,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from typing_extensions import Self

from harness.run.cache.index import Index

PACKAGE, ARRAYS = "model.mlpackage", "arrays.npz"


class Entry:
    """An entry in use: it cannot be pruned until it is closed or its process ends."""

    def __init__(self, folder: Path, index: Index, lock: int) -> None:
        self._folder, self._lock = folder, lock
        self.title, self.facts = index.title, index.facts

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def package(self) -> Path:
        """The path of the ``.mlpackage``, which must not be changed."""
        return self._folder / PACKAGE

    def arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        """Return the arrays by name."""
        with np.load(self._folder / ARRAYS, allow_pickle=False) as stored:
            return dict(stored)

    def close(self) -> None:
        """Release the entry."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


class Cache:
    """Entries below a folder.

    Parameters
    ----------
    root: the folder, created when the first entry is put.
    warn: called with a sentence if an entry is found to be corrupted.
    """

    def __init__(self, root: Path, warn: Callable[[str], None] = lambda _: None) -> None:
        self.root, self._warn = root, warn
        self._entries, self._writing = root / "entries", root / "writing"

    def get(self, key: str) -> Entry | None:
        """Return the entry of a key, checked byte by byte, or None. A corrupted entry is reported and removed."""
        folder = self._entries / key
        lock = lock_file(folder / INDEX, fcntl.LOCK_SH)
        if lock is None:
            if folder.exists() and not (folder / INDEX).exists():
                self._discard(folder, f"{INDEX} is missing")
            return None
        if not is_at(lock, folder / INDEX):  # removed by another process while this one waited
            os.close(lock)
            return None
        try:
            index = read_index(folder)
            check_files(folder, index)
        except UnusableError as error:
            os.close(lock)
            self._discard(folder, str(error))
            return None
        with contextlib.suppress(OSError):  # a read-only cache can still be read
            os.utime(folder / INDEX)
        return Entry(folder, index, lock)

    def put(
        self,
        key: str,
        write: Callable[[Path], object],
        *,
        title: str = "",
        facts: Mapping[str, Any] | None = None,
        arrays: Mapping[str, np.ndarray[Any, Any]] | None = None,
    ) -> Entry:
        """Keep a package with its facts, and return it as an entry.

        Parameters
        ----------
        key: of `harness.run.cache.digest`.
        write: called with a path that ends in ``.mlpackage``; writes the package there.
        title: a description for people.
        facts: plain data.
        arrays: by name.

        Raises
        ------
        OutputError: if the folder cannot be written; nothing is left behind.
        """
        try:
            self._sweep()
            self._writing.mkdir(parents=True, exist_ok=True)
            self._entries.mkdir(exist_ok=True)
            with self._draft() as draft:
                write(draft / PACKAGE)
                np.savez(draft / ARRAYS, **(arrays or {}))  # type: ignore[arg-type]  # its stub knows no plain dict
                write_index(draft, title, dict(facts or {}))
                flush(draft)
                self._publish(draft, self._entries / key)
        except OSError as error:
            raise OutputError(f"{self.root}: the cache cannot be written: {error.strerror or error}") from error
        entry = self.get(key)
        if entry is None:
            raise OutputError(f"{self.root}: the cache lost entry {key[:12]} while it was written")
        return entry

    def entries(self) -> list[Listed]:
        """Return the entries, the most recently used first."""
        found = []
        for folder in self._entries.glob("*") if self._entries.is_dir() else ():
            with contextlib.suppress(FileNotFoundError):  # pruned by another process meanwhile
                used = max((path.stat().st_mtime for path in (folder, folder / INDEX) if path.exists()), default=0.0)
                found.append(Listed(folder.name, title_of(folder), size_bytes(folder), used))
        return sorted(found, key=lambda one: one.used, reverse=True)

    def prune(self, *, max_bytes: int | None = None, older_than: float | None = None) -> list[Listed]:
        """Remove the least recently used entries and return them. Entries in use stay.

        Parameters
        ----------
        max_bytes: largest size of the cache.
        older_than: seconds; entries not used for longer are removed in any case.
        """
        self._sweep()
        removed, held, now = [], 0, time.time()
        for one in self.entries():
            held += one.size_bytes
            old = older_than is not None and now - one.used > older_than
            if (old or (max_bytes is not None and held > max_bytes)) and self._remove(self._entries / one.key):
                removed.append(one)
                held -= one.size_bytes
        return removed

    def _discard(self, folder: Path, reason: str) -> None:
        self._warn(f"cache: entry {folder.name[:12]} is corrupted and made anew: {reason}")
        self._remove(folder, in_use_too=True)

    def _remove(self, folder: Path, *, in_use_too: bool = False) -> bool:
        """Move an entry away at once, then delete it; return whether it existed and was not in use."""
        lock = lock_file(folder / INDEX, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if lock is None and not in_use_too and (folder / INDEX).exists():
            return False
        try:
            self._writing.mkdir(parents=True, exist_ok=True)
            with self._draft() as draft, contextlib.suppress(FileNotFoundError):  # another process was faster
                folder.rename(draft / "removed")
        except OSError as error:
            raise OutputError(f"{folder}: cannot be removed from the cache: {error.strerror or error}") from error
        finally:
            if lock is not None:
                os.close(lock)
        return True

    @contextlib.contextmanager
    def _draft(self) -> Iterator[Path]:
        """Give an empty folder in ``writing``, locked for as long as this process works on it, deleted afterwards."""
        lock_path = Path(tempfile.mkstemp(suffix=".lock", dir=self._writing)[1])
        lock = lock_file(lock_path, fcntl.LOCK_EX)
        draft = lock_path.with_suffix("")
        try:
            draft.mkdir()
            yield draft
        finally:
            shutil.rmtree(draft, ignore_errors=True)
            lock_path.unlink(missing_ok=True)
            if lock is not None:
                os.close(lock)

    def _publish(self, draft: Path, folder: Path) -> None:
        try:
            draft.rename(folder)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            return  # another process made the same entry meanwhile
        flush_one(folder.parent)

    def _sweep(self) -> None:
        """Delete the leftovers of writers that have ended: those whose lock is free."""
        for lock_path in self._writing.glob("*.lock") if self._writing.is_dir() else ():
            lock = lock_file(lock_path, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if lock is not None:
                shutil.rmtree(lock_path.with_suffix(""), ignore_errors=True)
                lock_path.unlink(missing_ok=True)
                os.close(lock)
