"""Keep Python's garbage collector from walking, again and again, over all that was there before a conversion.

A process that has imported torch and transformers holds millions of objects. coremltools collects garbage at the end of
each conversion, and the conversion's own objects set off full collections on the way: a fifth of the time of a small
model's. While a lean conversion runs, what was there before is frozen (:func:`gc.freeze`), so that collections look at
the conversion's objects alone. The collector belongs to the process: the first conversion freezes, the last one thaws.
"""

from __future__ import annotations

import gc
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_lock = threading.Lock()
_running = 0
_frozen = False


@contextmanager
def frozen_garbage() -> Iterator[None]:
    """Freeze the objects that are there within a ``with`` block, unless somebody has frozen objects already."""
    global _running, _frozen  # noqa: PLW0603 - a process has one collector
    with _lock:
        _running += 1
        if _running == 1 and gc.get_freeze_count() == 0:
            gc.freeze()
            _frozen = True
    try:
        yield
    finally:
        with _lock:
            _running -= 1
            if _running == 0 and _frozen:
                _frozen = False
                gc.unfreeze()
