"""Load a finished program with its constants mapped from the file of weights.

coremltools' reader maps the file as well, but copies each constant from it twice, and keeps one copy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from coremltools.converters.mil.frontend.milproto import load

from ane_rms.coremltools_patches.guard import Patch, replacing

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    Read = Callable[[Any], Any]


def mapped_constants(read: Read) -> AbstractContextManager[None]:
    """Make programs that are loaded inside a ``with`` block, in this thread, have the constants that ``read`` returns.

    Parameters
    ----------
    read: returns the array of a serialised constant, or None for one that coremltools is to read.
    """
    reason = "each weight is copied into memory while a program is loaded"
    return replacing(
        [Patch(load, "_load_value", "3fee98286cd57e66", lambda original: _loading(read, original), reason)]
    )


def _loading(read: Read, original: Any) -> Any:
    def load_value(context: Any, value: Any) -> Any:
        found = None if value.docString else read(value)  # coremltools refuses a constant with a docString
        return original(context, value) if found is None else found

    return load_value
