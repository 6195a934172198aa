"""The messages between parent and child: lines of JSON, never pickle."""

from __future__ import annotations

from typing import TypeAlias

import msgspec


class Request(msgspec.Struct, frozen=True):
    """The work to do: a handler and its JSON body."""

    handler: str
    """``package.module:function``; called with ``body`` and a function that announces steps; yields items' bytes."""
    body: msgspec.Raw
    """What the handler works on, JSON."""
    memory_bytes: int | None = None
    """The child refuses itself more private memory than this, where the system can."""


class Step(msgspec.Struct, frozen=True, tag="step"):
    """The child is about to do something."""

    text: str


class Item(msgspec.Struct, frozen=True, tag="item"):
    """One result."""

    body: msgspec.Raw
    worker: str = ""
    """Name of the machine it comes from, where that is one of a fleet."""
    marks: tuple[str, ...] = ()
    """What a reader must know of it, as ``retried``."""


class End(msgspec.Struct, frozen=True, tag="end"):
    """The last message of a request: how its work ended."""

    status: str = "ok"
    """``ok``, ``failed``, ``timed out``, ``killed``, ``out of memory``; or ``evicted``, by `harness.workers.pool`."""
    reason: str = ""
    log: str = ""
    """The end of what the child printed on stdout and stderr meanwhile, where it did not end well."""
    peak_memory_bytes: int = 0
    """Largest resident memory of the child, and of its children, as seen from outside."""
    seconds: float = 0.0
    worker: str = ""
    marks: tuple[str, ...] = ()


Message: TypeAlias = Step | Item | End
