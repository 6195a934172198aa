"""The messages between parent and child: lines of JSON, never pickle."""

from __future__ import annotations

from typing import TypeAlias

import msgspec


class Request(msgspec.Struct, frozen=True):
    """The work to do: a handler and its JSON body."""

    handler: str
    """``package.module:function``; called with ``body`` and a function that announces steps; yields items' bytes."""
    body: msgspec.Raw
    """The handler's input, JSON."""
    memory_bytes: int | None = None
    """The child's limit on its own private memory, on systems that have one."""


class Step(msgspec.Struct, frozen=True, tag="step"):
    """The child is about to do something."""

    text: str


class Item(msgspec.Struct, frozen=True, tag="item"):
    """One result."""

    body: msgspec.Raw
    worker: str = ""
    """Name of the fleet's machine it comes from; empty for this one."""
    marks: tuple[str, ...] = ()
    """Marks on the result, such as ``retried``."""


class End(msgspec.Struct, frozen=True, tag="end"):
    """The last message of a request: how its work ended."""

    status: str = "ok"
    """``ok``, ``failed``, ``timed out``, ``killed``, ``out of memory``; or ``evicted``, by `harness.workers.pool`."""
    reason: str = ""
    log: str = ""
    """The end of the child's stdout and stderr meanwhile, if it did not end well."""
    peak_memory_bytes: int = 0
    """Largest resident memory of the child, and of its children, as seen from outside."""
    seconds: float = 0.0
    worker: str = ""
    marks: tuple[str, ...] = ()


Message: TypeAlias = Step | Item | End
