"""List the files of a results folder: those named as this project names them, and a note for each odd one.

A results folder is synchronised, copied to other file systems and edited by hand, which leaves files beside ours:
``._name`` (macOS' AppleDouble), ``name (conflicted copy).json``, links whose target stayed behind. Hidden files are
skipped silently; any other odd file is reported in a sentence, and the rest is read.
"""

from __future__ import annotations

import re
import stat
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.errors import RecordError
from harness.system.text import MODEL_KEY

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RUN_ID = re.compile(r"\d{8}(T\d{6}(\.\d{1,6})?Z)?", re.ASCII)
"""A run's id: its date and time, ``20260131T235959.123456Z``; by hand, the date alone."""


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of one kind in a folder, sorted by name."""

    files: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()
    """A sentence for each file that looks like one of them but is not."""


def runs(results: Path) -> Listing:
    """List the record files of a results folder, oldest first.

    Raises
    ------
    RecordError: for a folder that may not be read.
    """
    return _listing(results / "runs", ".jsonl", RUN_ID, "a run's id")


def baselines(folder: Path) -> Listing:
    """List the baseline files of a folder.

    Raises
    ------
    RecordError: for a folder that may not be read.
    """
    return _listing(folder, ".json", MODEL_KEY, "a model's key")


def tables(results: Path, suffix: str) -> Listing:
    """List the files in ``tables`` that end in a suffix, such as ``.regimes.json``, oldest first.

    Raises
    ------
    RecordError: for a folder that may not be read.
    """
    return _listing(results / "tables", suffix, re.compile(".+"), "a run's id")


def _listing(folder: Path, suffix: str, pattern: re.Pattern[str], named: str) -> Listing:
    try:
        names = sorted(path.name for path in folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return Listing()
    except OSError as error:
        raise RecordError(f"{folder}: cannot be listed: {error.strerror}") from None
    files, notes = [], []
    for name in names:
        if name.startswith(".") or not name.endswith(suffix):
            continue
        path, stem = folder / name, unicodedata.normalize("NFC", name.removesuffix(suffix))
        why = _oddity(path) if pattern.fullmatch(stem) else f"its name is not {named}"
        if why:
            notes.append(f"{path}: left out: {why}")
        else:
            files.append(path)
    return Listing(tuple(files), tuple(notes))


def _oddity(path: Path) -> str:
    """Return the reason why a path cannot be one of our files; "" if it can."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        return "a link whose target is missing" if path.is_symlink() else error.strerror or "it cannot be read"
    return "" if stat.S_ISREG(mode) else "not a regular file"


def tell(listing: Listing, told: Callable[[str], None] | None) -> tuple[Path, ...]:
    """Return the files of a listing, after passing on its notes."""
    for note in listing.notes:
        if told:
            told(note)
    return listing.files
