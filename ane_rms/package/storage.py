"""Append new constants of a package to its weights file, each once for all functions."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
from coremltools.converters.mil.backend.mil import helper
from coremltools.converters.mil.mil import types
from coremltools.libmilstoragepython import _BlobStorageWriter as BlobStorageWriter

from ane_rms.mapped_arrays import release, shared
from ane_rms.package.weights import MODEL_FOLDER

if TYPE_CHECKING:
    from pathlib import Path


Key = tuple[str, tuple[int, ...], bytes]
"""The identity of a constant: element type, shape, and a digest of the elements."""


def key(array: np.ndarray[Any, Any]) -> Key:
    """Return the identity of a constant."""
    return array.dtype.str, array.shape, hashlib.sha256(np.ascontiguousarray(array).data).digest()


class Storage:
    """Appends constants to a weights file, whose existing contents are neither changed nor moved.

    If there is no file, as in a package whose constants are all in its program, constants stay in the program.
    """

    def __init__(self, folder: Path, name: str | None) -> None:
        """Take the folder of the model specification, and the file as programs call it (``@model_path/...``)."""
        self._folder = folder
        self._name = name
        self._writer: Any = None
        self._known: dict[Key, Any] = {}
        self._shared = shared(self._kept)

    def kept(self, array: np.ndarray[Any, Any]) -> Any:
        """Return a serialised constant whose elements are in the file; None if there is no file.

        Parameters
        ----------
        array: the constant's elements, float16 or float32.

        Raises
        ------
        OSError: if the file cannot be extended, for want of space for example.
        """
        return None if self._name is None else self._shared(array, self._name)

    def _kept(self, array: np.ndarray[Any, Any], name: str) -> Any:
        one = key(array)
        if one not in self._known:
            try:
                offset = self._append(np.ascontiguousarray(array.reshape(-1)))
            except RuntimeError as error:  # of coremltools' own writer, whose messages name no cause
                raise OSError(f"{name}: cannot be extended by a constant: {error}") from None
            kind = helper.types_to_proto_primitive(types.numpy_type_to_builtin_type(array.dtype))
            self._known[one] = helper.create_file_value_tensor(name, offset, array.shape, kind)
            release(array)
        return self._known[one]

    def _append(self, flat: np.ndarray[Any, Any]) -> int:
        if self._writer is None:
            path = self._folder / str(self._name).removeprefix(MODEL_FOLDER)
            self._writer = BlobStorageWriter(str(path), truncate_file=False)
        if flat.dtype == np.float16:
            return int(self._writer.write_fp16_data(flat.view(np.uint16)))
        return int(self._writer.write_float_data(flat.astype(np.float32)))

    def close(self) -> None:
        """Finish the file."""
        self._writer = None


def weights_file(program: Any) -> str | None:
    """Return the name of the first weights file that a serialised program refers to, or None."""
    for function in program.functions.values():
        for block in function.block_specializations.values():
            for op in block.operations:
                for value in op.attributes.values():
                    if value.WhichOneof("value") == "blobFileValue":
                        return str(value.blobFileValue.fileName)
                for argument in op.inputs.values():
                    for binding in argument.arguments:
                        if binding.value.WhichOneof("value") == "blobFileValue":
                            return str(binding.value.blobFileValue.fileName)
    return None
