"""The run's side of a cluster: send tasks to a dask scheduler and receive their messages.

A `Cluster` has the interface of `harness.workers.pool.Pool`. The scheduler gives a task to a worker that offers the
resources the task needs (``ANE=1``: one measurement at a time on a machine; ``memory``: its estimate). The tasks of a
worker that is lost go to other workers, and their messages carry the mark ``retried``.
"""

from __future__ import annotations

import uuid
from collections import deque
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any

import msgspec

from harness.errors import FleetError
from harness.records.environment import version
from harness.records.schema import SCHEMA_VERSION
from harness.system.extras import install
from harness.system.text import squeezed
from harness.workers.cluster_worker import TOPIC, Answer, Order, work
from harness.workers.protocol import End, Item, Step

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import Self

    from harness.workers.pool import Task
    from harness.workers.protocol import Message

AT_ONCE = 512
"""Largest number of tasks given to the scheduler at once: enough for any fleet, and a run's memory stays flat."""
CONNECT_SECONDS = 10.0


class Cluster:
    """The workers connected to a scheduler.

    Parameters
    ----------
    address: the scheduler's, ``tcp://host:8786`` or ``host:8786``.

    Raises
    ------
    FleetError: if no scheduler answers at the address.
    """

    def __init__(self, address: str) -> None:
        try:
            import distributed
        except ImportError:
            raise FleetError(f"dask.distributed is not installed: {install('fleet')}") from None
        try:
            self._client = distributed.Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError, TypeError) as error:
            reason = squeezed(error) or type(error).__name__
            raise FleetError(
                f"{address}: no scheduler answers: {reason}. Start one: ane-harness fleet scheduler"
            ) from None
        self._waiting: deque[Task] = deque()
        self._begun: dict[str, set[str]] = {}
        self._steps: deque[tuple[str, str]] = deque(maxlen=1000)
        self._client.subscribe_topic(TOPIC, self._hear)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def submit(self, task: Task, *, first: bool = False) -> None:
        """Add a task, behind the others or ``first``; :meth:`run` may be under way."""
        if first:
            self._waiting.appendleft(task)
        else:
            self._waiting.append(task)

    def alone(self, task: Task) -> int:
        """Return the resources to reserve when a task is tried again."""
        return task.reserve_bytes

    def run(self) -> Iterator[tuple[Task, Message]]:
        """Yield the tasks' messages, each task's together, until every task has reached its `End`."""
        import distributed

        finished = distributed.as_completed(loop=self._client.loop)
        running: dict[Any, Task] = {}
        try:
            while self._waiting or running:
                while self._waiting and len(running) < AT_ONCE:
                    task = self._waiting.popleft()
                    future = self._send(task)
                    running[future] = task
                    finished.add(future)
                future = next(finished)
                task = running.pop(future)
                yield from self._heard({one.key: each for one, each in running.items()})
                yield from self._answered(future, task)
        finally:
            self._client.cancel(list(running), force=True)

    def workers(self) -> dict[str, Any]:
        """Return the scheduler's information about each worker, by address."""
        found: dict[str, Any] = self._client.scheduler_info(n_workers=-1)["workers"]
        return found

    def processing(self) -> dict[str, int]:
        """Return the number of tasks each worker is processing, by address."""
        return {address: len(keys) for address, keys in self._client.processing().items()}

    def _send(self, task: Task) -> Any:
        key = f"ane-harness-{uuid.uuid4().hex}"
        order = Order(
            key,
            task.handler,
            task.body,
            task.limits.seconds,
            task.limits.memory_bytes,
            SCHEMA_VERSION,
            version("ane-rms"),
            alone="ANE" in task.resources,
        )
        resources = {**task.resources, **({"memory": task.reserve_bytes} if task.reserve_bytes else {})}
        return self._client.submit(
            work,
            msgspec.msgpack.encode(order),
            key=key,
            resources=resources or None,
            retries=0,
        )

    def _answered(self, future: Any, task: Task) -> Iterator[tuple[Task, Message]]:
        from distributed.scheduler import KilledWorker

        marks = ("retried",) if len(self._begun.pop(future.key, ())) > 1 else ()
        try:
            answer = msgspec.msgpack.decode(future.result(), type=Answer)
        except KilledWorker as error:
            lost = f"{error.allowed_failures + 1} workers were lost while they did it, {error.last_worker.address} last"
            yield task, End("killed", lost, marks=marks)
            return
        except (Exception, CancelledError) as error:  # noqa: BLE001 - what goes wrong around a task is the task's end
            yield task, End("failed", f"the fleet: {type(error).__name__}: {squeezed(error)}", marks=marks)
            return
        for item in answer.items:
            yield task, Item(msgspec.Raw(item), worker=answer.worker, marks=marks)
        if answer.step:
            yield task, Step(answer.step)
        yield task, msgspec.structs.replace(answer.end, worker=answer.worker, marks=marks)

    def _hear(self, event: tuple[Any, Any]) -> None:
        """Receive a worker's message; called on the client's own thread."""
        _, said = event
        if not isinstance(said, dict):
            return
        if "begun" in said:
            self._begun.setdefault(said["key"], set()).add(said["begun"])
        elif "step" in said:
            self._steps.append((said["key"], said["step"]))

    def _heard(self, tasks: dict[str, Task]) -> Iterator[tuple[Task, Message]]:
        while self._steps:
            key, step = self._steps.popleft()
            if key in tasks:
                yield tasks[key], Step(step)
