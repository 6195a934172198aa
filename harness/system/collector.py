"""Pause Python's garbage collector around timed code and around code that makes many long-lived objects."""

from __future__ import annotations

import contextlib
import gc
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def paused(*, collect: bool = False) -> Iterator[None]:
    """Switch the collector off until the block ends.

    ``collect`` has garbage collected before, so that memory which a timed block takes is new; with large libraries
    loaded that takes a tenth of a second.
    """
    enabled = gc.isenabled()
    if collect:
        gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
