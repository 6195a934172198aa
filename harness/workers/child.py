"""The parent's side: one child process that answers request after request and is replaced when it dies.

A fresh process for each model would import torch, coremltools and transformers each time, which takes longer
than a small model does. So the child is kept; a new one is started only if a request ended it or left it large.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import selectors
import signal
import tempfile
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from harness.workers import memory
from harness.workers.nursery import fresh, surroundings
from harness.workers.protocol import End, Item, Message, Request, Step

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from harness.workers.nursery import Process, Start

LOG_TAIL_BYTES = 4_000
"""Size of the end of a failed request's output that is kept."""
LOG_LIMIT_BYTES = 64 << 20
"""Output beyond this size is dropped while it is written: a model that prints endlessly must not fill the disk."""
LINE_LIMIT_BYTES = 256 << 20
"""A child whose message is longer than this counts as broken."""
TICK_SECONDS = 0.1
"""Interval between checks of memory and time."""

_decoder = msgspec.json.Decoder(Step | Item | End)


@dataclass(frozen=True, slots=True)
class Limits:
    """The time and memory one request may take; None means no limit."""

    seconds: float | None = None
    memory_bytes: int | None = None
    """Resident memory of the child and all below it."""


class Child:
    """A child process that answers requests one at a time.

    Parameters
    ----------
    environment: environment variables of the child, added to this process's own.
    recycle_bytes: a child larger than this after a request is replaced before the next one.
    start: how its process is started.
    """

    def __init__(
        self,
        environment: Mapping[str, str] | None = None,
        recycle_bytes: int = 4 << 30,
        start: Start = fresh,
    ) -> None:
        self._start = start
        self._environment = surroundings(environment or {})
        self._recycle_bytes = recycle_bytes
        self._process: Process | None = None
        self._log = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - lives as long as the child
        # The child writes through the same open file: without this, the parent's reads would move its position.
        fcntl.fcntl(self._log, fcntl.F_SETFL, fcntl.fcntl(self._log, fcntl.F_GETFL) | os.O_APPEND)
        self.busy = False
        self.used_bytes = 0
        """Resident memory when last checked."""

    # The request ------------------------------------------------------------------------------------------------

    def ask(self, handler: str, body: bytes, limits: Limits = Limits()) -> Iterator[Message]:
        """Send a request and yield its steps and items as they arrive; the last message is its `End`."""
        self.start(handler, body, limits)
        with selectors.DefaultSelector() as selector:
            selector.register(self, selectors.EVENT_READ)
            while self.busy:
                selector.select(TICK_SECONDS)
                yield from self.poll()

    def start(self, handler: str, body: bytes, limits: Limits = Limits()) -> None:
        """Send a request; :meth:`poll` yields its messages."""
        if self._process is None or self._process.poll() is not None:
            self._spawn()
        self.limits, self._begin, self._peak, self._step = limits, time.monotonic(), 0, ""
        self._looked = self._begin
        self._log_start = self._log.seek(0, os.SEEK_END)
        self._pending = b""
        self.busy = True
        line = msgspec.json.encode(Request(handler, msgspec.Raw(body), limits.memory_bytes)) + b"\n"
        with contextlib.suppress(BrokenPipeError):  # a child that died meanwhile is found by poll
            while line:
                line = line[os.write(self._requests, line) :]

    def fileno(self) -> int:
        """Return the file descriptor that becomes readable when :meth:`poll` has something to yield."""
        return self._messages

    def poll(self) -> Iterator[Message]:
        """Yield the child's messages since the last call; end a child that is past a limit and yield its `End`."""
        if not self.busy:
            return
        dead = (
            self._process is None or self._process.poll() is not None
        )  # checked before reading, so that all its messages are read
        finished = self._read() or dead  # its own children may hold the pipe open
        *lines, self._pending = self._pending.split(b"\n")
        for line in lines:
            try:
                message = _decoder.decode(line)
            except msgspec.MsgspecError as error:
                yield self._killed("failed", f"the child process sent what is no message: {error}")
                return
            if isinstance(message, End):
                yield self._ended(message)
                return
            if isinstance(message, Step):
                self._step = message.text
            yield message
        if finished:
            yield self._gone()
        elif len(self._pending) > LINE_LIMIT_BYTES:
            yield self._killed("failed", "the child process sent a message without end")
        elif (end := self._beyond()) is not None:
            yield end

    def evict(self, reason: str) -> End:
        """End the request to free memory for others; return its `End` with the status ``evicted``."""
        return self._killed("evicted", reason)

    def resident_bytes(self) -> int:
        """Return the resident memory of the child and its descendants, in bytes."""
        return 0 if self._process is None else memory.resident_bytes(self._process.pid)

    def close(self) -> None:
        """End the child process and its descendants."""
        self._stop()
        self._log.close()

    # The process ------------------------------------------------------------------------------------------------

    def _spawn(self) -> None:
        self._stop()
        request_end, self._requests = os.pipe()
        self._messages, message_end = os.pipe()
        os.set_blocking(self._messages, False)
        try:
            self._process = self._start(self._environment, request_end, message_end, self._log)
        finally:
            os.close(request_end)
            os.close(message_end)

    def _stop(self) -> None:
        if self._process is None:
            return
        self._process.poll()  # a forked one may have its number only now
        if self._process.pid:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._requests)
        os.close(self._messages)
        self._process = None

    def _read(self) -> bool:
        """Read what the child sent; return whether it has closed its end."""
        while True:
            try:
                chunk = os.read(self._messages, 1 << 20)
            except BlockingIOError:
                return False
            if not chunk:
                return True
            self._pending += chunk
            if len(self._pending) > LINE_LIMIT_BYTES:
                return False

    # The end ----------------------------------------------------------------------------------------------------

    def _beyond(self) -> End | None:
        """Check the limits at most once a tick; end a child that exceeds one."""
        now = time.monotonic()
        if now - self._looked < TICK_SECONDS / 2:
            return None
        self._looked = now
        if self._log.seek(0, os.SEEK_END) - self._log_start > LOG_LIMIT_BYTES:
            self._log.truncate(self._log_start)
        self.used_bytes = used = self.resident_bytes()
        self._peak = max(self._peak, used)
        seconds, most = self.limits.seconds, self.limits.memory_bytes
        if most is not None and used > most:
            return self._killed("out of memory", f"passed its limit of {memory.text(most)}{self._at()}")
        if seconds is not None and now - self._begin > seconds:
            return self._killed("timed out", f"passed its limit of {seconds:g} s{self._at()}")
        return None

    def _gone(self) -> End:
        """Return the `End` of a child that exited by itself."""
        code = 0 if self._process is None else self._process.wait()
        if code >= 0:
            return self._killed("failed", f"its process ended with exit code {code}{self._at()}")
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = "unknown"
        seen = f", last seen with {memory.text(self._peak)} of memory" if self._peak else ""
        return self._killed("killed", f"its process was ended by signal {-code} ({name}){self._at()}{seen}")

    def _at(self) -> str:
        return f" at: {self._step}" if self._step else ""

    def _killed(self, status: str, reason: str) -> End:
        """End the process with the request."""
        self._stop()
        return self._ended(End(status, reason))

    def _ended(self, end: End) -> End:
        self.busy = False
        used = 0 if self._process is None else memory.resident_bytes(self._process.pid, below=False)
        if used > self._recycle_bytes:
            self._stop()
        self.used_bytes = 0 if self._process is None else used
        return msgspec.structs.replace(
            end,
            log="" if end.status == "ok" else self._tail(),
            peak_memory_bytes=max(self._peak, used),
            seconds=end.seconds or time.monotonic() - self._begin,
        )

    def _tail(self) -> str:
        end = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(min(self._log_start, end), end - LOG_TAIL_BYTES))
        return self._log.read().decode(errors="replace").strip()
