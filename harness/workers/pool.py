"""Several child processes under one memory budget, which is kept even if a task takes more than its estimate.

Each task has an estimate of its memory. It starts when a child is free and the estimates of all running tasks leave
room for it, or when nothing else runs. Estimates can be wrong, so the resident memory is watched: if it exceeds the
budget, the task that started last is evicted and submitted again with the whole budget reserved, so that it runs alone.
If it then exceeds the budget, it is out of memory. A task with a limit of its own ends at that limit.
"""

from __future__ import annotations

import selectors
import sys
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from harness.workers.child import TICK_SECONDS, Child, Limits
from harness.workers.memory import text
from harness.workers.nursery import Nursery, fresh, surroundings
from harness.workers.protocol import End, Message

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from typing_extensions import Self


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """A request with its limits and its memory estimate."""

    subject: Any
    """The subject of the task, which the pool does not use."""
    handler: str
    body: bytes
    limits: Limits = field(default_factory=Limits)
    reserve_bytes: int = 0
    """Estimate of the memory it will hold."""
    resources: Mapping[str, float] = field(default_factory=dict)
    """Other resources that a machine of a fleet must have for it, such as ``{"ANE": 1}``."""


class Workers(Protocol):
    """The protocol of classes that run tasks: a `Pool` here, or a `harness.workers.cluster.Cluster` of machines."""

    def submit(self, task: Task, *, first: bool = False) -> None:
        """Add a task."""

    def alone(self, task: Task) -> int:
        """Return the memory to reserve when an evicted task is submitted again."""

    def run(self) -> Iterator[tuple[Task, Message]]:
        """Yield the tasks' messages until all tasks are done."""


class Pool:
    """Up to ``workers`` child processes that run tasks.

    Parameters
    ----------
    workers: largest number of tasks at once, at least 1.
    memory_bytes: the budget for all of them together; None for none.
    environment: variables of the children, added to this process's own.
    modules: what the children import in any case; several of them have it imported once, where the system can fork.
    """

    def __init__(
        self,
        workers: int = 1,
        memory_bytes: int | None = None,
        environment: Mapping[str, str] | None = None,
        modules: Sequence[str] = (),
    ) -> None:
        forks = modules and workers > 1 and sys.platform == "linux"
        self._nursery = Nursery(modules, surroundings(environment or {})) if forks else None
        self._free = [Child(environment, start=self._nursery or fresh) for _ in range(workers)]
        self._all = tuple(self._free)
        self._budget = memory_bytes
        self._waiting: deque[Task] = deque()
        self._running: dict[Child, Task] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for child in self._all:
            child.close()
        if self._nursery is not None:
            self._nursery.close()

    def submit(self, task: Task, *, first: bool = False) -> None:
        """Add a task at the end of the queue, or at its front with ``first``; :meth:`run` may already be running."""
        if first:
            self._waiting.appendleft(task)
        else:
            self._waiting.append(task)

    def run(self) -> Iterator[tuple[Task, Message]]:
        """Yield the tasks' messages as they arrive, until every task has reached its `End`.

        An `End` with the status ``evicted`` asks for the task (or the rest of it) to be submitted again, with
        :meth:`alone`.
        """
        with selectors.DefaultSelector() as selector:
            while self._waiting or self._running:
                self._admit(selector)
                selector.select(TICK_SECONDS)
                for child, task in list(self._running.items()):
                    descriptor = child.fileno()
                    for message in child.poll():
                        if isinstance(message, End):
                            self._release(child, descriptor, selector)
                        yield task, message
                yield from self._evict(selector)

    def alone(self, task: Task) -> int:
        """Return the memory to reserve so that a task runs alone: the whole budget."""
        return self._budget or task.reserve_bytes

    def _admit(self, selector: selectors.BaseSelector) -> None:
        """Start the tasks there is memory for, in order: no later task overtakes one that has to wait."""
        while self._waiting and self._free and self._has_room(self._waiting[0]):
            task, child = self._waiting.popleft(), self._free.pop()
            child.start(task.handler, task.body, self._limits(task))
            selector.register(child.fileno(), selectors.EVENT_READ)
            self._running[child] = task

    def _has_room(self, task: Task) -> bool:
        if self._budget is None or not self._running:
            return True
        held = sum(max(one.reserve_bytes, child.used_bytes) for child, one in self._running.items())
        return held + task.reserve_bytes <= self._budget

    def _limits(self, task: Task) -> Limits:
        bounds = [one for one in (task.limits.memory_bytes, self._budget) if one is not None]
        return Limits(task.limits.seconds, min(bounds, default=None))

    def _evict(self, selector: selectors.BaseSelector) -> Iterator[tuple[Task, Message]]:
        if self._budget is None or len(self._running) < 2:
            return
        used = sum(child.used_bytes for child in self._all)
        if used <= self._budget:
            return
        child, task = list(self._running.items())[-1]
        descriptor = child.fileno()
        end = child.evict(f"{text(used)} were in use, past the {text(self._budget)} for all")
        self._release(child, descriptor, selector)
        yield task, end

    def _release(self, child: Child, descriptor: int, selector: selectors.BaseSelector) -> None:
        selector.unregister(descriptor)
        del self._running[child]
        self._free.append(child)
