"""What decides a converted package, as one digest; nothing heavy is imported, and nothing traced."""

from __future__ import annotations

import hashlib
import platform
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from harness.environment import version

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ROOT = Path(__file__).parents[2]

PACKAGES = ("coremltools", "torch", "transformers", "numpy")
"""Their versions decide what is exported and converted, the last bit of random weights included."""

BESIDE_THE_POINT = (
    "harness/cache",
    "harness/cli",
    "harness/fleet",
    "harness/interpreter",
    "harness/isolation",
    "harness/report",
    "harness/runtime",
)
"""Folders whose code decides nothing of a package and of what is kept beside it. All else counts, new files too:
a package made once too often costs seconds, one that is out of date costs trust."""

CHUNK_BYTES = 1 << 22


def digest(parts: Mapping[str, Any]) -> str:
    """Return the key of what ``parts`` describe, with the versions and the code that would convert it.

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
    """Return a digest of the code that exports, converts and counts: ours, ``BESIDE_THE_POINT`` left out."""
    paths = [
        path
        for package in ("ane_rms", "harness")
        for path in (root / package).rglob("*.py")
        if not path.relative_to(root).as_posix().startswith(tuple(f"{folder}/" for folder in BESIDE_THE_POINT))
    ]
    return files_digest(paths, root)


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
