"""The nursery's own process: ``python -m harness.workers.forking CONTROL MODULE...``, one file descriptor.

It imports the modules, then forks a child for each order. It has one thread and computes nothing, so that a
fork leaves no lock held and no pool of threads behind. It ends with its parent, whose end of the socket closes then.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import selectors
import signal
import socket
import sys
from typing import NoReturn

import msgspec

from harness.system import log_noise
from harness.workers import serve
from harness.workers.nursery import MESSAGE_BYTES, Exit, Order


def main() -> None:
    """Import the modules and fork until the parent closes its end."""
    log_noise.hush()
    control = socket.socket(fileno=int(sys.argv[1]))
    gc.disable()  # what is imported stays
    for name in sys.argv[2:]:
        with contextlib.suppress(ImportError):  # the child that needs it says so
            importlib.import_module(name)
    gc.freeze()  # no collection of a child copies the pages of what is imported
    gc.enable()
    ended, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake)
    with selectors.DefaultSelector() as selector:
        selector.register(control, selectors.EVENT_READ)
        selector.register(ended, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj == ended:
                    os.read(ended, 4096)
                    _report(control)
                else:
                    _fork(control, ended, wake)


def _report(control: socket.socket) -> None:
    """Tell the parent which children have ended."""
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            control.send(msgspec.json.encode(Exit(pid, os.waitstatus_to_exitcode(status))))


def _fork(control: socket.socket, *pipe: int) -> None:
    body, ends, _, _ = socket.recv_fds(control, MESSAGE_BYTES, 3)
    if not body:
        raise SystemExit  # the parent has closed its end
    requests, messages, log = ends
    order = msgspec.json.decode(body, type=Order)
    pid = os.fork()
    if pid == 0:
        for one in (control.fileno(), *pipe):
            os.close(one)
        _be_child(order, requests, messages, log)
    with contextlib.suppress(PermissionError, ProcessLookupError):  # the child has done it itself
        os.setpgid(pid, pid)
    control.send(msgspec.json.encode(Exit(pid)))
    for one in (requests, messages, log):
        os.close(one)


def _be_child(order: Order, requests: int, messages: int, log: int) -> NoReturn:
    """Answer requests as a child that was started afresh does."""
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setpgid(0, 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
        sys.argv[1:] = (str(requests), str(messages))
        os.environ.clear()
        os.environ.update(order.environment)
        os.chdir(order.folder)
        serve.answer(requests, messages)
    finally:
        os._exit(1)


if __name__ == "__main__":
    main()
