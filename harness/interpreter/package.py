"""Open an ``.mlpackage``: manifest, model specification, folder of the weights.

A package is a folder: ``Manifest.json`` names the item that is the model specification (a protobuf file);
weights lie in files beside it, which the specification calls ``@model_path/...``.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError

from harness.errors import PackageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

NEWEST_SPECIFICATION = 10
"""Specification version of iOS 26, the newest this executor knows."""


@dataclass(frozen=True, slots=True)
class Package:
    """A model specification and the folder of its weights."""

    spec: Any
    model_folder: Path | None
    source: str
    kept: Mapping[int, np.ndarray] = field(default_factory=dict)
    """The weights by their offset, if they are in memory; empty if they are in the folder's files."""


def exists(path: Path) -> bool:
    """Return whether something stands at a path.

    Raises
    ------
    PackageError: for a name too long, or a folder that may not be entered.
    """
    try:
        return path.exists()
    except OSError as error:
        raise PackageError(f"{str(path)[:200]}: cannot be opened: {error.strerror}") from error


def open_package(path: Path) -> Package:
    """Read the specification of a package on disk.

    Raises
    ------
    PackageError: when it is missing, not a package, corrupted, or of a kind or version not supported.
    """
    if not exists(path):
        raise PackageError(f"{path}: no such package")
    if path.is_file():
        if path.suffix == ".mlmodel":
            return Package(check_specification(_parse(path, str(path)), str(path)), None, str(path))
        raise PackageError(f"{path}: not a package: an .mlpackage is a folder")
    specification = path / "Data" / _root_item(path)
    if not specification.is_file():
        raise PackageError(f"{path}: the manifest names {specification.name}, which is missing")
    spec = check_specification(_parse(specification, str(path)), str(path))
    return Package(spec, specification.parent, str(path))


def package_of(model: Any, kept: Mapping[int, np.ndarray] | None = None) -> Package:
    """Return the package of an ``MLModel``, with the weights that were kept in memory, if any.

    Raises
    ------
    PackageError: if it is not an ML program of a known version.
    """
    source = getattr(model, "package_path", None) or "model"
    weights = getattr(model, "weights_dir", None)
    folder = Path(weights).parent if weights else None
    return Package(check_specification(model.get_spec(), source), folder, source, kept or {})


def check_specification(spec: Any, source: str) -> Any:
    """Return the specification if it is an ML program of a known version.

    Raises
    ------
    PackageError: when it is not.
    """
    if spec.specificationVersion > NEWEST_SPECIFICATION:
        raise PackageError(
            f"{source}: specification version {spec.specificationVersion} is newer than the newest known, "
            f"{NEWEST_SPECIFICATION} (iOS 26)"
        )
    kind = spec.WhichOneof("Type")
    if kind != "mlProgram":
        raise PackageError(f"{source}: holds a {kind or 'model without a type'}; only ML programs can be run")
    return spec


def _root_item(path: Path) -> str:
    manifest = path / "Manifest.json"
    if not manifest.is_file():
        raise PackageError(f"{path}: not a package: Manifest.json is missing")
    try:
        content = json.loads(manifest.read_text(encoding="utf-8"))
        item = content["itemInfoEntries"][content["rootModelIdentifier"]]["path"]
        if not isinstance(item, str):
            raise TypeError(f"the path is {item!r}")  # noqa: TRY301 - as any other entry of the wrong type
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise PackageError(f"{manifest}: corrupted: {type(error).__name__}: {error}") from error
    except OSError as error:
        raise PackageError(f"{manifest}: cannot be read: {error.strerror}") from error
    return str(inside(path / "Data", item, str(manifest)).relative_to(path / "Data"))


def inside(folder: Path, relative: str, source: str) -> Path:
    """Return ``folder / relative``, refusing a path that leaves the folder, by its parts or through a link.

    Raises
    ------
    PackageError: for such a path.
    """
    candidate = Path(relative)
    try:
        leaves = not (folder / candidate).resolve().is_relative_to(folder.resolve())
    except ValueError:  # a null character
        leaves = True
    if leaves or candidate.is_absolute() or ".." in candidate.parts:
        raise PackageError(f"{source}: the path {relative!r} leads out of the package")
    return folder / candidate


def _parse(path: Path, source: str) -> Any:
    spec = _messages().Model()
    try:
        spec.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise PackageError(f"{source}: {path.name} is corrupted: {error}") from error
    except OSError as error:
        raise PackageError(f"{source}: {path.name} cannot be read: {error.strerror}") from error
    return spec


MESSAGES = "_coremltools_proto"
"""Name under which coremltools' protobuf modules are loaded where coremltools itself is not."""


def _messages() -> Any:
    """Return coremltools' ``Model_pb2``, without importing the rest of coremltools for it.

    A program is read in milliseconds; importing coremltools brings every converter, PyTorch and transformers with it,
    which takes seconds. Its protobuf modules need none of that, and are the same classes when coremltools comes later:
    protobuf keeps one for each message.
    """
    found = None if "coremltools" in sys.modules else importlib.util.find_spec("coremltools")
    if found is None or not found.submodule_search_locations:
        return importlib.import_module("coremltools.proto.Model_pb2")
    if MESSAGES not in sys.modules:
        package = ModuleType(MESSAGES, "coremltools' protobuf modules, by themselves.")
        package.__path__ = [str(Path(place, "proto")) for place in found.submodule_search_locations]
        sys.modules[MESSAGES] = package
    return importlib.import_module(f"{MESSAGES}.Model_pb2")


def package_path(target: str) -> Path | None:
    """Return the path of the package that ``MODEL|PACKAGE`` names on a command line, or None for a zoo key."""
    path = Path(target)
    return path if path.suffix == ".mlpackage" or exists(path) else None
