"""Undo at the end of a ``with`` block, whatever ends it.

``KeyboardInterrupt`` may be raised between any two steps, those of undoing among them. So what is undone is read from
the state as it is, and undoing twice is undoing once: :func:`undoing` does it again if the first time is interrupted.
The block is a generator, which Python closes when nothing refers to it any more. Even an interruption on the way into
or out of it therefore undoes, at the latest when the exception is dropped.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextvars import ContextVar


@contextmanager
def undoing(undo: Callable[[], None]) -> Iterator[None]:
    """Call ``undo`` twice at the end of a ``with`` block; the second call does what an interruption of the first left.

    ``undo`` must do nothing if nothing is left to undo, or was done.
    """
    try:
        yield
    finally:
        try:
            undo()
        finally:
            undo()


@contextmanager
def setting(variable: ContextVar[Any], value: Any) -> Iterator[None]:
    """Set a context variable inside a ``with`` block, in this thread, to an object of the block's own."""
    before = variable.get(None)

    def undo() -> None:
        if variable.get(None) is value:  # not if the block is closed late, and the variable is another block's
            variable.set(before)

    with undoing(undo):
        variable.set(value)
        yield
