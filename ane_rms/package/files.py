"""Open a finished package, and refuse anything else in one line.

A package is a folder. ``Manifest.json`` names the item that is the model specification, a protobuf file; weights are in
files beside it, which the specification calls ``@model_path/...``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import coremltools as ct
from google.protobuf.message import DecodeError

KINDS = {
    "neuralNetwork": "a neural network",
    "neuralNetworkClassifier": "a neural network",
    "neuralNetworkRegressor": "a neural network",
    "pipeline": "a pipeline of models",
    "pipelineClassifier": "a pipeline of models",
    "pipelineRegressor": "a pipeline of models",
    "serializedModel": "an encrypted model",
}
"""The descriptions of models other than ML programs, for messages; an unlisted kind is given by its own name."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A package: its specification, the folder of the specification, and its name in messages."""

    spec: Any
    folder: Path | None
    """The folder that ``@model_path`` means; None if the model has no file."""
    source: str
    specification: Path | None = None
    """The file of the specification."""
    path: Path | None = None
    """The package's folder."""


def open_package(path: Path) -> Opened:
    """Read the specification of a package on disk. Weights are not read.

    Raises
    ------
    FileNotFoundError: if nothing is at the path.
    ValueError: in one line, if it is not a readable package of an ML program.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such package")
    if path.suffix == ".mlmodelc" or (path / "coremldata.bin").is_file():
        raise ValueError(f"{path}: a compiled model, whose program cannot be changed: give the .mlpackage it is of")
    file = path if path.is_file() else path / "Data" / _root_item(path)
    if not file.is_file():
        raise ValueError(f"{path}: the manifest names {file.name}, which is missing")
    spec = ct.proto.Model_pb2.Model()
    try:
        spec.ParseFromString(file.read_bytes())
    except DecodeError:
        raise ValueError(f"{path}: {file.name} is no Core ML specification: it is damaged or encrypted") from None
    except OSError as error:
        raise ValueError(f"{path}: {file.name} cannot be read: {error.strerror}") from None
    check_program(spec, str(path))
    if path.is_file():
        raise ValueError(f"{path}: an ML program without its package: give the folder that ends in .mlpackage")
    return Opened(spec, file.parent, str(path), file, path)


def open_model(model: ct.models.MLModel) -> Opened:
    """Return the specification of a model in memory, with the folder of its weights.

    Raises
    ------
    ValueError: if it contains no ML program.
    """
    spec = model._spec  # noqa: SLF001 - get_spec() would copy every weight in it
    check_program(spec, "the model")
    folder = Path(model.weights_dir).parent if model.weights_dir else None
    path = None if model.package_path is None else Path(model.package_path)
    return Opened(spec, folder, "the model", path=path)


def check_program(spec: Any, source: str) -> None:
    """Refuse a specification without an ML program.

    Raises
    ------
    ValueError: naming the kind of model that it contains.
    """
    kind = spec.WhichOneof("Type")
    if kind != "mlProgram":
        held = KINDS.get(str(kind), str(kind) if kind else "no model: it is empty, damaged or encrypted")
        raise ValueError(f"{source}: holds {held}; only an ML program has norms to fuse")
    if not spec.mlProgram.functions:
        raise ValueError(f"{source}: the ML program holds no function")


def _root_item(path: Path) -> Path:
    manifest = path / "Manifest.json"
    if not manifest.is_file():
        raise ValueError(f"{path}: not a Core ML package: Manifest.json is missing")
    try:
        content = json.loads(manifest.read_text(encoding="utf-8"))
        item = Path(str(content["itemInfoEntries"][content["rootModelIdentifier"]]["path"]))
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise ValueError(f"{manifest}: damaged: {type(error).__name__}: {error}") from None
    if item.is_absolute() or ".." in item.parts:
        raise ValueError(f"{manifest}: the path {str(item)!r} leads out of the package")
    return item
