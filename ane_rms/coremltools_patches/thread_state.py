"""Give a thread's conversion a container of its own where coremltools keeps one in a module or class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ane_rms.coremltools_patches.guard import switched_on

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ane_rms.coremltools_patches.guard import Key


class Own:
    """A container that is the conversion's own in its thread, and coremltools' in every other thread."""

    def __init__(self, shared: Any, key: Key) -> None:
        self._shared = shared
        self._key = key

    def _current(self) -> Any:
        own = switched_on(self._key)
        return self._shared if own is None else own

    def __getattr__(self, name: str) -> Any:
        return getattr(self._current(), name)

    def __getitem__(self, key: Any) -> Any:
        return self._current()[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self._current()[key] = value

    def __delitem__(self, key: Any) -> None:
        del self._current()[key]

    def __len__(self) -> int:
        return len(self._current())

    def __iter__(self) -> Iterator[Any]:
        return iter(self._current())

    def __contains__(self, key: Any) -> bool:
        return key in self._current()


@dataclass(frozen=True, slots=True)
class OwnContainer:
    """Replaces a container that coremltools keeps in a module or class."""

    owner: Any
    attribute: str
    kind: type
    own: Any
    reason: str
    """The purpose of the replacement, for messages."""

    def objection(self, original: Any) -> str:
        """Return why the container must not be replaced; "" if it may be."""
        if isinstance(original, self.kind):
            return ""
        return f"{self.attribute} is not the container known; converting without this: {self.reason}"

    def inert(self, original: Any, key: Key) -> Any:
        """Return the replacement of coremltools' container."""
        return Own(original, key)

    def active(self, original: Any, outer: Any) -> Any:  # noqa: ARG002 - a nested conversion has its own
        """Return the conversion's container."""
        return self.own
