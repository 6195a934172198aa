"""List the functions of coremltools that a lean conversion replaces, each with the reason."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import coremltools as ct
import numpy as np
from coremltools.converters.mil import converter
from coremltools.converters.mil.backend.mil import helper
from coremltools.converters.mil.mil import types
from coremltools.converters.mil.mil.ops.defs.iOS15.elementwise_unary import cast
from coremltools.models import model as model_module
from coremltools.models.utils import _MLPACKAGE_AUTHOR_NAME as AUTHOR
from coremltools.models.utils import _WEIGHTS_DIR_NAME as WEIGHTS_DIR_NAME

from ane_rms.coremltools_patches.guard import Patch
from ane_rms.coremltools_patches.lean import consistency, constants, ops_and_values, pipelines, texts, type_info
from ane_rms.coremltools_patches.lean.validation import Validation

if TYPE_CHECKING:
    from ane_rms.coremltools_patches.in_every_thread import InEveryThread
    from ane_rms.coremltools_patches.lean.spill import Spill


def all_patches(spill: Spill, kept: dict[int, np.ndarray] | None = None) -> list[Patch | InEveryThread]:
    """Return the patches; float16 weights are made in ``spill``. ``kept`` is that of :func:`leaner`."""
    written: set[str] = set()
    return [
        *Validation().patches(),
        *pipelines.patches(),
        *consistency.patches(),
        *ops_and_values.patches(),
        *constants.patches(),
        *texts.patches(),
        *type_info.patches(),
        Patch(
            cast,
            "get_cast_value",
            "349994c9a45ae8e0",
            lambda original: _cast_into(spill, original),
            "a weight's float16 value is made in a file instead of in memory",
        ),
        Patch(
            helper,
            "_get_offset_by_writing_data",
            "5759e5ade997accd",
            lambda original: _write_from(spill, original) if kept is None else _keep_in(kept),
            "a weight is copied two or three times on its way into the file of weights",
        ),
        Patch(
            converter,
            "mil_convert_to_proto",
            "97383396f941c7b5",
            lambda original: _note_folder(written, original),
            "tells the next which folders of weights this conversion has made",
        ),
        Patch(
            model_module,
            "_create_mlpackage",
            "1c841998cf67cdac",
            lambda original: _move_weights(written, original),
            "the file of weights is copied from a temporary folder into the package",
        ),
    ]


def _cast_into(spill: Spill, original: Any) -> Any:
    def get_cast_value(cls: Any, input_var: Any, dtype_val: str) -> Any:
        if dtype_val == "fp16" and spill.takes(input_var.val):
            return spill.float16(input_var.val)
        return original(cls, input_var, dtype_val)

    return get_cast_value


def _write_from(spill: Spill, original: Any) -> Any:
    def get_offset(output_var: Any, blob_writer: Any) -> Any:
        value = output_var.val
        if not isinstance(value, np.ndarray) or not value.flags.c_contiguous or types.is_sub_byte(output_var.dtype):
            return original(output_var, blob_writer)
        if value.dtype == np.float16:
            offset = blob_writer.write_fp16_data(value.reshape(-1).view(np.uint16))
            spill.release(value)
            return offset
        if value.dtype == np.float32:
            return blob_writer.write_float_data(value.reshape(-1))
        return original(output_var, blob_writer)

    return get_offset


def _keep_in(kept: dict[int, np.ndarray]) -> Any:
    def get_offset(output_var: Any, _blob_writer: Any) -> Any:
        offset = len(kept) + 1
        kept[offset] = output_var.val
        return offset

    return get_offset


def _note_folder(written: set[str], original: Any) -> Any:
    def convert_to_proto(*args: Any, **kwargs: Any) -> Any:
        folder = kwargs.get("weights_dir")
        if folder is not None and not any(Path(folder).iterdir()):
            written.add(folder)
        return original(*args, **kwargs)

    return convert_to_proto


def _move_weights(written: set[str], original: Any) -> Any:
    def create_mlpackage(proto_spec: Any, weights_dir: str | None = None, package_path: str | None = None) -> Any:
        if weights_dir not in written:  # a user's own folder, which is copied
            return original(proto_spec, weights_dir, package_path)
        files = sorted(Path(weights_dir).iterdir())
        empty = Path(weights_dir, "empty")  # inside, so that it is removed with the folder, whatever interrupts
        empty.mkdir()
        created = original(proto_spec, str(empty), package_path)
        into = ct.libmodelpackage.ModelPackage(created).findItemByNameAuthor(WEIGHTS_DIR_NAME, AUTHOR).path()
        for path in files:
            shutil.move(path, into)
        return created

    return create_mlpackage
