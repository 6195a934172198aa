"""How a child process comes to be: started afresh, or forked from a process that has imported what it needs.

Two children that import torch, transformers and coremltools side by side each take the six seconds of it. A
`Nursery` imports them once and forks the children, each of which has a process group, limits and a log of its
own: a crash takes no other child with it. If the nursery itself dies, the children it has forked work on, and the next
are started afresh. Linux alone: the system libraries of macOS do not survive a fork.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).parents[2]
"""The folder of the package ``harness``, for a child started in another folder."""
DEFAULTS = {"OMP_WAIT_POLICY": "PASSIVE", "THP_MEM_ALLOC_ENABLE": "1"}
"""Variables that a child has unless the user sets them.

PyTorch's threads sleep while they wait for each other: those that spin take a core from whoever has work, which doubled
a small machine's CPU time. PyTorch asks Linux for huge pages for its large tensors: the float32 weights of a billion
parameters are a million page faults otherwise.
"""
MESSAGE_BYTES = 1 << 20
"""Largest message: a child's environment."""


class Order(msgspec.Struct, frozen=True):
    """A child to fork; its requests, messages and log follow as file descriptors."""

    environment: dict[str, str]
    folder: str


class Exit(msgspec.Struct, frozen=True):
    """A child that was forked, or that has ended."""

    pid: int
    code: int | None = None
    """As `subprocess.Popen.returncode` has it; None at the beginning."""


class Process(Protocol):
    """What a child's parent does with its process; as `subprocess.Popen`."""

    @property
    def pid(self) -> int:
        """The process's number; 0 before it is known."""

    def poll(self) -> int | None:
        """Return the exit code, or None while the process runs."""

    def wait(self) -> int:
        """Wait for the exit code."""


class Start(Protocol):
    """Starts a child that reads requests from one descriptor and writes messages to another."""

    def __call__(self, environment: Mapping[str, str], requests: int, messages: int, log: Any) -> Process:
        """Start it, with a process group of its own, so that Ctrl-C reaches the parent alone."""


def surroundings(own: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a child: this process's, its own variables, and the way to this package."""
    environment = {**DEFAULTS, **os.environ, **own}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), environment.get("PYTHONPATH", ""))))
    return environment


def fresh(environment: Mapping[str, str], requests: int, messages: int, log: Any) -> subprocess.Popen[bytes]:
    """Start a child in a new process, which imports what its requests need."""
    return subprocess.Popen(
        [sys.executable, "-m", "harness.workers.serve", str(requests), str(messages)],
        pass_fds=(requests, messages),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        env=environment,
        start_new_session=True,
    )


class Nursery:
    """A process that imports modules and forks children; call it as a `Start`.

    Parameters
    ----------
    modules: names of the modules to import.
    environment: the variables of the process while it imports; a child gets its own afterwards.
    """

    def __init__(self, modules: Sequence[str], environment: Mapping[str, str]) -> None:
        self._modules, self._environment = tuple(modules), dict(environment)
        self._control, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._process: subprocess.Popen[bytes] | None = None
        self._unborn: list[_Forked] = []
        self._forked: dict[int, _Forked] = {}
        self.over = False
        """Whether the process has ended."""

    def __call__(self, environment: Mapping[str, str], requests: int, messages: int, log: Any) -> Process:
        """Have a child forked, or start one afresh if the nursery has died; the first call starts the nursery."""
        if self._process is None:
            self._begin()
        order = msgspec.json.encode(Order(dict(environment), os.getcwd()))  # noqa: PTH109 - what a new process inherits
        try:
            socket.send_fds(self._control, [order], [requests, messages, log.fileno()])
        except OSError:
            self.over = True
            return fresh(environment, requests, messages, log)
        self._unborn.append(forked := _Forked(self))
        return forked

    def _begin(self) -> None:
        with self._theirs as theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "harness.workers.forking", str(theirs.fileno()), *self._modules],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=self._environment,
                start_new_session=True,
            )

    def hear(self, *, wait: bool = False) -> None:
        """Take over which children were forked and which have ended; ``wait`` for at least one message."""
        while not self.over:
            try:
                body = self._control.recv(MESSAGE_BYTES, 0 if wait else socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError:
                body = b""
            if not body:
                self.over = True
                return
            wait, said = False, msgspec.json.decode(body, type=Exit)
            if said.code is None:
                self._forked[said.pid] = one = self._unborn.pop(0)
                one.pid = said.pid
            else:
                self._forked.pop(said.pid).code = said.code

    def close(self) -> None:
        """End the process; the children end when their own parent closes their requests."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        for end in (self._control, self._theirs):
            end.close()
        self.over = True


class _Forked:
    """A child of a nursery."""

    def __init__(self, nursery: Nursery) -> None:
        self._nursery = nursery
        self.pid = 0
        self.code: int | None = None

    def poll(self) -> int | None:
        """Return the exit code, or None while it runs; a child of a dead nursery is known to end by its messages."""
        self._nursery.hear()
        return self.code

    def wait(self) -> int:
        """Wait for the exit code; that of a child whose nursery has died is unknown, and given as SIGKILL."""
        if self.pid == 0:  # not forked yet: the nursery alone can be ended
            self._nursery.close()
        while self.code is None and not self._nursery.over:
            self._nursery.hear(wait=True)
        return -signal.SIGKILL if self.code is None else self.code
