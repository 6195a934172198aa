"""``entry.json`` of a cache's entry: its description, and the size and digest of each of its files, sealed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from harness.run.cache.keys import file_digest

if TYPE_CHECKING:
    from pathlib import Path

INDEX = "entry.json"


class Index(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of ``entry.json`` after its seal."""

    title: str
    """For people: ``llama on layer_norm``."""
    facts: dict[str, Any]
    files: dict[str, tuple[int, str]]
    """Size in bytes and SHA-256 by path below the entry."""


@dataclass(frozen=True, slots=True)
class Listed:
    """An entry as ``cache list`` shows it."""

    key: str
    title: str
    """Empty if the entry cannot be read."""
    size_bytes: int
    used: float
    """When it was last made or read, in seconds since the epoch."""


class UnusableError(Exception):
    """Why an entry cannot be used."""


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / INDEX)


def write_index(draft: Path, title: str, facts: dict[str, Any]) -> None:
    """Write the index of an entry whose other files are all there."""
    files = {path.relative_to(draft).as_posix(): (path.stat().st_size, file_digest(path)) for path in _files(draft)}
    body = msgspec.json.encode(Index(title, facts, files))
    (draft / INDEX).write_bytes(hashlib.sha256(body).hexdigest().encode() + b"\n" + body + b"\n")


def read_index(folder: Path) -> Index:
    """Return an entry's index.

    Raises
    ------
    UnusableError: if it cannot be read, or is not what was written.
    """
    try:
        seal, _, body = (folder / INDEX).read_bytes().partition(b"\n")
        body = body.removesuffix(b"\n")
        if hashlib.sha256(body).hexdigest().encode() != seal:
            raise UnusableError(f"{INDEX} is not what was written")
        return msgspec.json.decode(body, type=Index)
    except (OSError, msgspec.MsgspecError) as error:
        raise UnusableError(f"{INDEX}: {error}") from None


def check_files(folder: Path, index: Index) -> None:
    """Check every file against its size and digest."""
    found = {path.relative_to(folder).as_posix(): path for path in _files(folder)}
    if found.keys() != index.files.keys():
        differing = sorted(found.keys() ^ index.files.keys())
        raise UnusableError(f"{differing[0]} is {'missing' if differing[0] in index.files else 'not of it'}")
    for name, (size, expected) in index.files.items():
        try:
            if found[name].stat().st_size != size or file_digest(found[name]) != expected:
                raise UnusableError(f"{name} is not what was written")
        except OSError as error:
            raise UnusableError(f"{name}: {error.strerror}") from None


def title_of(folder: Path) -> str:
    """Return an entry's title; empty if its index cannot be used."""
    try:
        return read_index(folder).title
    except UnusableError:
        return ""


def size_bytes(folder: Path) -> int:
    """Return the size of all files of an entry."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
