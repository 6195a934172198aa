"""A worker's side of a cluster: do one task in a child process with limits.

The worker process itself does no work, so a model that kills its process ends a child and never the worker.
"""

from __future__ import annotations

import fcntl
import os
import platform
import tempfile
import threading
import uuid
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from harness.records.environment import version
from harness.records.schema import SCHEMA_VERSION
from harness.workers import Child, End, Item, Limits, Step

if TYPE_CHECKING:
    from collections.abc import Iterator


class Order(msgspec.Struct, frozen=True):
    """A task as it is sent to a worker."""

    key: str
    """The scheduler's name for it."""
    handler: str
    body: bytes
    seconds: float | None
    memory_bytes: int | None
    schema_version: int
    version: str
    """The version of ane-rms on the machine where the run was started."""
    alone: bool = False
    """Whether the task needs the machine's Neural Engine exclusively."""


class Answer(msgspec.Struct, frozen=True):
    """The result of a task."""

    items: list[bytes]
    end: End
    worker: str
    """The machine's name."""
    step: str = ""
    """The last step it announced."""


TOPIC = "ane-harness"
"""The topic on which workers announce their steps to the scheduler's clients."""

_idle: list[Child] = []
_lock = threading.Lock()


def work(order_bytes: bytes) -> bytes:
    """Do a task on this worker."""
    from distributed import get_worker

    order = msgspec.msgpack.decode(order_bytes, type=Order)
    machine = platform.node()
    if (order.schema_version, order.version) != (SCHEMA_VERSION, version("ane-rms")):
        here = f"ane-rms {version('ane-rms')} with schema {SCHEMA_VERSION}"
        there = f"ane-rms {order.version} with schema {order.schema_version}"
        reason = f"the worker on {machine} has {here}, the run {there}: install the same version"
        return msgspec.msgpack.encode(Answer([], End("failed", reason), machine))
    worker = get_worker()

    def say(**what: str) -> None:
        worker.log_event(TOPIC, {"key": order.key, **what})

    say(begun=uuid.uuid4().hex)
    items: list[bytes] = []
    end = End("failed", "the child process said nothing")
    step = ""
    with _ane() if order.alone else nullcontext(), _child() as child:
        for message in child.ask(order.handler, order.body, Limits(order.seconds, order.memory_bytes)):
            if isinstance(message, Item):
                items.append(bytes(message.body))
            elif isinstance(message, Step):
                step = message.text
                say(step=step)
            else:
                end = message
    return msgspec.msgpack.encode(Answer(items, end, machine, step))


@contextmanager
def _ane() -> Iterator[None]:
    """Hold an exclusive lock on this machine's Neural Engine, across processes, workers and runs."""
    path = Path(tempfile.gettempdir()) / f"ane-harness-{os.getuid()}.lock"
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


@contextmanager
def _child() -> Iterator[Child]:
    """Lend one of this worker's child processes; their number is the largest number of concurrent tasks."""
    with _lock:
        child = _idle.pop() if _idle else Child()
    try:
        yield child
    finally:
        if child.busy:
            child.close()
        else:
            with _lock:
                _idle.append(child)
