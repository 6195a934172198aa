"""Compute one digest of everything that decides a converted package, without heavy imports or tracing."""

from __future__ import annotations

import hashlib
import platform
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from harness.records.environment import version

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

ROOT = Path(__file__).parents[3]

PACKAGES = ("coremltools", "torch", "transformers", "numpy")
"""Packages whose versions decide the exported and converted program, down to the last bit of random weights."""

DECIDING = (
    "ane_rms",
    "harness/zoo",
    "harness/plan",
    "harness/export",
    "harness/convert",
    "harness/measure",
    "harness/records/schema.py",
    "harness/run/maker.py",
)
"""The rooms and modules whose code decides a package, or the logits and facts that are kept beside it. Code that
executes, judges and reports is not among them: an edit of a verdict leaves every converted package in the cache."""

CHUNK_BYTES = 1 << 22


def digest(parts: Mapping[str, Any]) -> str:
    """Return the key of the conversion that ``parts`` describe, with the versions and the code that would do it.

    Parameters
    ----------
    parts: plain data: the model's configuration, the options of the conversion, a digest of a checkpoint's files ...
    """
    whole = {
        "parts": dict(parts),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "machine": [platform.system(), platform.machine()],  # PyTorch's sums, and so its logits, depend on it
        "code": sources_digest(),
    }
    return hashlib.sha256(msgspec.json.encode(whole, order="deterministic")).hexdigest()


@cache
def sources_digest(root: Path = ROOT) -> str:
    """Return a digest of the code that exports, converts and counts: the Python files of ``DECIDING``."""
    paths = [
        path
        for place in DECIDING
        for path in ([root / place] if place.endswith(".py") else sources(root / place))
        if path.is_file()
    ]
    return files_digest(paths, root)


def sources(folder: Path) -> Iterator[Path]:
    """Yield the Python files of a folder, and the data files beside them that decide as they do."""
    for pattern in ("*.py", "*.json"):
        yield from folder.rglob(pattern)


def files_digest(paths: Iterable[Path], root: Path) -> str:
    """Return a digest of files, by their paths below ``root`` and their bytes."""
    whole = hashlib.sha256()
    for path in sorted(paths):
        name = path.relative_to(root).as_posix().encode()
        whole.update(len(name).to_bytes(8, "little") + name + bytes.fromhex(file_digest(path)))
    return whole.hexdigest()


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, read a chunk at a time."""
    found = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            found.update(chunk)
    return found.hexdigest()
