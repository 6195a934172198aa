"""Replace a function or a table of coremltools for one conversion, and leave nothing behind.

A replacement has two halves. The inert half takes the place of coremltools' object. It reads a context variable to see
whether the running conversion has switched the replacement on, and otherwise calls the original. It is installed once
for any number of conversions, and removed when the last of them ends. The active half is switched on by a conversion
and acts only in that conversion's thread. Threads may therefore enter and leave in any order, with or without
exceptions, and a plain ``ct.convert`` in another thread runs coremltools' own code throughout.

A function is replaced only if coremltools contains the source that the replacement was written for. Otherwise it is
left unchanged, and a log line says so.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import threading
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from coremltools import _logger as logger

from ane_rms.undoing import setting, undoing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Key = tuple[int, str]
"""The key of a replacement: the identity of its owner, and the attribute."""

_lock = threading.RLock()
_standing: dict[Key, _Standing] = {}
_switched_on: ContextVar[dict[Key, Any]] = ContextVar("_switched_on")


@functools.cache
def _digest_of_code(code: Any) -> str:
    try:
        source = inspect.getsource(code)
    except (OSError, TypeError):
        return ""
    return hashlib.sha256(source.encode()).hexdigest()[:16]


def digest(function: Any) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of a function's source; "" if the source is unavailable.

    A decorated function has the digest of its wrapper.
    """
    function = getattr(function, "__func__", function)
    return _digest_of_code(getattr(function, "__code__", function))


def switched_on(key: Key) -> Any:
    """Return the active half that this thread's conversion has switched on for a replacement, or None."""
    entries = _switched_on.get(None)
    return None if entries is None else entries.get(key)


@contextmanager
def switched_off() -> Iterator[None]:
    """Run a ``with`` block, in this thread, as if no replacement were switched on."""
    with setting(_switched_on, {}):
        yield


class Replacement(Protocol):
    """The protocol of the replacements that :func:`replacing` takes."""

    @property
    def owner(self) -> Any:
        """The module, class or object that has the attribute."""

    @property
    def attribute(self) -> str:
        """The attribute's name."""

    def objection(self, original: Any) -> str:
        """Return why the attribute, whose value is ``original``, must not be replaced; "" if it may be."""

    def inert(self, original: Any, key: Key) -> Any:
        """Return the replacement of ``original``, which behaves like it unless an active half is switched on."""

    def active(self, original: Any, outer: Any) -> Any:
        """Return the active half for a conversion; ``outer`` is that of an enclosing conversion, or None."""


@dataclass(frozen=True, slots=True)
class Patch:
    """One function of coremltools and its stand-in."""

    owner: Any
    attribute: str
    known: str
    """The digest of the source that the replacement was written for."""
    make: Callable[[Any], Any]
    """Returns the stand-in, given the original function. The stand-in of a class method takes the class first."""
    reason: str
    """The purpose of the replacement, for messages."""

    @property
    def name(self) -> str:
        """The function's name, for messages."""
        return f"{self.owner.__name__.rpartition('.')[2]}.{self.attribute}"

    @property
    def fits(self) -> bool:
        """Whether coremltools contains the source that the replacement was written for."""
        return digest(inspect.getattr_static(self.owner, self.attribute, None)) == self.known

    def objection(self, original: Any) -> str:
        """Return why the function must not be replaced; "" if it may be."""
        if digest(original) == self.known:
            return ""
        return f"{self.name} is not the one known; converting without this: {self.reason}"

    def inert(self, original: Any, key: Key) -> Any:
        """Return a function that calls the original unless a stand-in is switched on."""
        function = getattr(original, "__func__", original)

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            entries = _switched_on.get(None)
            stand_in = None if entries is None else entries.get(key)
            return function(*args, **kwargs) if stand_in is None else stand_in(*args, **kwargs)

        return type(original)(call) if isinstance(original, (classmethod, staticmethod)) else call

    def active(self, original: Any, outer: Any) -> Any:  # noqa: ARG002 - a stand-in replaces an outer one
        """Return the stand-in."""
        return self.make(getattr(original, "__func__", original))


@dataclass(slots=True, eq=False)
class _Standing:
    """An installed inert half."""

    replacement: Replacement
    original: Any
    inert: Any
    inherited: bool
    """Whether the owner inherited the original from a base class."""
    holders: set[Holder] = field(default_factory=set)


@dataclass(slots=True, eq=False)
class Holder:
    """The replacements that one block or installation has installed, for every thread."""

    standing: list[_Standing] = field(default_factory=list)
    said: set[str] = field(default_factory=set)
    """The objections that were logged."""

    def hold(self, replacement: Replacement) -> _Standing | None:
        """Install the inert half unless it is installed; return None, and log why, if it must not be replaced.

        After an interruption at any point :meth:`release` undoes what was done.
        """
        with _lock:
            key = (id(replacement.owner), replacement.attribute)
            current = inspect.getattr_static(*_place(replacement), None)
            standing = _standing.get(key)
            if standing is None or current is not standing.inert:
                objection = replacement.objection(current)
                if objection:
                    self._say(objection)
                    return None
                inherited = replacement.attribute not in vars(replacement.owner)
                standing = _Standing(replacement, current, replacement.inert(current, key), inherited)
            self.standing.append(standing)
            standing.holders.add(self)
            _standing[key] = standing
            setattr(*_place(replacement), standing.inert)
            return standing

    def _say(self, objection: str) -> None:
        if objection not in self.said:
            self.said.add(objection)
            logger.warning(f"ane_rms: {objection}")

    def release(self) -> None:
        """Restore every original that no other holder needs replaced, unless other code has replaced ours since."""
        with _lock:
            for standing in reversed(self.standing):
                standing.holders.discard(self)
                if not standing.holders:
                    _restore(standing)
            self.standing.clear()
            self.said.clear()


def _place(replacement: Replacement) -> tuple[Any, str]:
    return replacement.owner, replacement.attribute


def _restore(standing: _Standing) -> None:
    owner, attribute = _place(standing.replacement)
    if vars(owner).get(attribute) is standing.inert:
        if standing.inherited:
            delattr(owner, attribute)
        else:
            is_counter = isinstance(standing.original, int)  # goes on from where it is
            setattr(owner, attribute, int(standing.inert) if is_counter else standing.original)
    if _standing.get((id(owner), attribute)) is standing:
        del _standing[id(owner), attribute]


def objection_to(replacement: Replacement) -> str:
    """Return why a replacement would not be installed; "" if it would be, or is."""
    standing = _standing.get((id(replacement.owner), replacement.attribute))
    current = inspect.getattr_static(*_place(replacement), None)
    return "" if standing is not None and current is standing.inert else replacement.objection(current)


@contextmanager
def replacing(replacements: Iterable[Replacement]) -> Iterator[None]:
    """Activate replacements inside a ``with`` block, in this thread only; afterwards coremltools is restored."""
    outer = _switched_on.get(None) or {}
    holder, entries = Holder(), dict(outer)

    def undo() -> None:
        entries.clear()  # those in copies of this context have no effect any more
        holder.release()

    with undoing(undo):
        with _lock:
            for replacement in replacements:
                standing = holder.hold(replacement)
                if standing is not None:
                    key = (id(replacement.owner), replacement.attribute)
                    entries[key] = replacement.active(standing.original, outer.get(key))
        with setting(_switched_on, entries):
            yield
