"""Run the work on one site so that its failure affects no other site; the text of the exception is kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Failure:
    """An exception, as one line."""

    text: str


def attempt(act: Callable[[], T]) -> T | Failure:
    """Return the result of ``act``, or the exception that it raised; interruptions are not caught."""
    try:
        return act()
    except Exception as error:  # noqa: BLE001 - any exception at a site becomes a miss with its text
        return Failure(" ".join(f"{type(error).__name__}: {error}".split()))
