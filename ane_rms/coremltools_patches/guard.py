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
    token = _switched_on.set({})
    try:
        yield
    finally:
        _switched_on.reset(token)


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


@dataclass(slots=True)
class _Standing:
    """An installed inert half."""

    replacement: Replacement
    original: Any
    inert: Any
    inherited: bool
    """Whether the owner inherited the original from a base class."""
    holders: int = 0


def _hold(replacement: Replacement, said: set[str]) -> _Standing | None:
    """Install the inert half unless it is installed, and count the holder; return None if it must not be replaced.

    The reason is then logged, unless it is among those already ``said``.
    """
    owner, attribute = replacement.owner, replacement.attribute
    key = (id(owner), attribute)
    standing = _standing.get(key)
    current = inspect.getattr_static(owner, attribute, None)
    if standing is None or current is not standing.inert:
        objection = replacement.objection(current)
        if objection:
            if objection not in said:
                said.add(objection)
                logger.warning(f"ane_rms: {objection}")
            return None
        standing = _Standing(replacement, current, replacement.inert(current, key), attribute not in vars(owner))
        _standing[key] = standing
        setattr(owner, attribute, standing.inert)
    standing.holders += 1
    return standing


def _release(standing: _Standing) -> None:
    """Release one holder. After the last one, restore the original unless other code has replaced ours since."""
    standing.holders -= 1
    if standing.holders:
        return
    owner, attribute = standing.replacement.owner, standing.replacement.attribute
    key = (id(owner), attribute)
    if vars(owner).get(attribute) is standing.inert:
        if standing.inherited:
            delattr(owner, attribute)
        else:
            is_counter = isinstance(standing.original, int)  # goes on from where it is
            setattr(owner, attribute, int(standing.inert) if is_counter else standing.original)
    if _standing.get(key) is standing:
        del _standing[key]


def objection_to(replacement: Replacement) -> str:
    """Return why a replacement would not be installed; "" if it would be, or is."""
    standing = _standing.get((id(replacement.owner), replacement.attribute))
    current = inspect.getattr_static(replacement.owner, replacement.attribute, None)
    return "" if standing is not None and current is standing.inert else replacement.objection(current)


def hold(replacement: Replacement) -> Any:
    """Install the inert half of a replacement for every thread, until :func:`release` gets the result."""
    with _lock:
        return _hold(replacement, set())


def release(held: Any) -> None:
    """Release the result of :func:`hold`, which is None if coremltools was not changed."""
    if held is not None:
        with _lock:
            _release(held)


@dataclass(slots=True)
class _Held:
    """The replacements that one ``with`` block has installed."""

    standing: list[_Standing] = field(default_factory=list)
    entries: dict[Key, Any] = field(default_factory=dict)


@contextmanager
def replacing(replacements: Iterable[Replacement]) -> Iterator[None]:
    """Activate replacements inside a ``with`` block, in this thread only; afterwards coremltools is restored."""
    outer = _switched_on.get(None) or {}
    held = _Held(entries=dict(outer))
    token, said = None, set[str]()
    try:
        with _lock:
            for replacement in replacements:
                standing = _hold(replacement, said)
                if standing is not None:
                    held.standing.append(standing)
                    key = (id(replacement.owner), replacement.attribute)
                    held.entries[key] = replacement.active(standing.original, outer.get(key))
        token = _switched_on.set(held.entries)
        yield
    finally:
        if token is not None:
            _switched_on.reset(token)
        held.entries.clear()  # entries in copies of this context have no effect any more
        with _lock:
            for standing in reversed(held.standing):
                _release(standing)
