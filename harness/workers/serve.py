"""The child's side: ``python -m harness.workers.serve REQUESTS MESSAGES``, two file descriptors.

stdout and stderr are left to the libraries. A child whose parent has exited ends at once.
"""

from __future__ import annotations

import importlib
import os
import queue
import sys
import threading
import time
import traceback
from typing import TYPE_CHECKING, NoReturn

import msgspec

from harness.errors import HarnessError
from harness.system.text import squeezed
from harness.workers.memory import is_refusal, limit_self
from harness.workers.protocol import End, Item, Message, Request, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import BinaryIO


def main() -> None:
    """Answer requests until the parent closes its end."""
    from harness.system import log_noise

    log_noise.hush()
    answer(int(sys.argv[1]), int(sys.argv[2]))


def answer(requests_end: int, messages_end: int) -> NoReturn:
    """Answer the requests that arrive at one file descriptor, at another."""
    requests, messages = os.fdopen(requests_end, "rb"), os.fdopen(messages_end, "wb")
    waiting: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(requests, waiting), daemon=True).start()

    def say(message: Message) -> None:
        messages.write(msgspec.json.encode(message) + b"\n")
        messages.flush()

    while True:
        _answer(msgspec.json.decode(waiting.get(), type=Request), say)


def _listen(requests: BinaryIO, waiting: queue.SimpleQueue[bytes]) -> None:
    """Read requests as they arrive, so that the parent's exit is noticed while a request is being answered."""
    for line in requests:
        waiting.put(line)
    os._exit(0)  # the main thread may be anywhere, in native code too


def _answer(request: Request, say: Callable[[Message], None]) -> None:
    begin = time.perf_counter()
    status, reason = "ok", ""
    try:
        limit_self(request.memory_bytes)
        for body in _resolve(request.handler)(bytes(request.body), lambda text: say(Step(text))):
            say(Item(msgspec.Raw(body)))
    except BaseException as error:  # noqa: BLE001 - whatever a request does, the child says so and lives on
        if not isinstance(error, HarnessError):
            traceback.print_exc()
        status = "out of memory" if is_refusal(error) else "failed"
        name = "" if isinstance(error, HarnessError) else f"{type(error).__name__}: "
        reason = name + squeezed(error)
    sys.stdout.flush()
    sys.stderr.flush()
    say(End(status, reason, seconds=time.perf_counter() - begin))


def _resolve(handler: str) -> Callable[[bytes, Callable[[str], None]], Iterable[bytes]]:
    module, _, name = handler.partition(":")
    found: Callable[[bytes, Callable[[str], None]], Iterable[bytes]] = getattr(importlib.import_module(module), name)
    return found


if __name__ == "__main__":
    main()
