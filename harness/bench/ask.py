"""Ask a child process of the bench something, and take what it says one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from harness.bench import messages
from harness.isolation import Child, End, Item, Limits

if TYPE_CHECKING:
    from collections.abc import Callable

PREPARE = "harness.bench.prepare:prepare"
"""The handler that converts a model's cases, asked with `messages.Prepare`."""


def ask(
    child: Child,
    handler: str,
    request: msgspec.Struct,
    limits: Limits,
    take: Callable[[Any], object],
    announce: Callable[[str], None] = lambda _: None,
) -> End:
    """Have a request answered, and return how its work ended.

    Parameters
    ----------
    child: who is asked.
    handler: ``module:function`` of what answers.
    request: sent as JSON.
    limits: of time and memory.
    take: given each item as it comes.
    announce: told each step before it begins.
    """
    said = child.ask(handler, msgspec.json.encode(request), limits)
    while not isinstance(message := next(said), End):
        if isinstance(message, Item):
            take(messages.decode_item(message.body))
        else:
            announce(message.text)
    return message
