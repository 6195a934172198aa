"""Replace a function or a table of coremltools for one conversion, and leave nothing behind.

A replacement has two halves. The first is put in coremltools' place and does nothing by itself: it asks a context
variable whether the conversion that runs has switched it on, and otherwise calls what it replaced. It is installed
once, however many conversions want it, and taken out when the last of them ends. The second half is what a conversion
switches on: it acts in that conversion's thread alone. So threads may enter and leave in any order, with exceptions or
without, and a plain ``ct.convert`` in another thread runs coremltools' own code throughout.

Each function is replaced only where coremltools holds the source that the replacement was written against. Otherwise it
is left alone, and a log line says so.
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
"""Which replacement: the identity of its owner, and the attribute."""

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
    """Return the first 16 hexadecimal digits of the SHA-256 of a function's source, or "" if there is none to read.

    A function that a decorator has wrapped has the digest of the wrapper.
    """
    function = getattr(function, "__func__", function)
    return _digest_of_code(getattr(function, "__code__", function))


def switched_on(key: Key) -> Any:
    """Return what the conversion of this thread has switched on for a replacement, or None."""
    entries = _switched_on.get(None)
    return None if entries is None else entries.get(key)


class Replacement(Protocol):
    """What :func:`replacing` takes."""

    @property
    def owner(self) -> Any:
        """The module, class or object that holds the attribute."""

    @property
    def attribute(self) -> str:
        """The attribute's name."""

    def objection(self, original: Any) -> str:
        """Return why the attribute, which is ``original``, is not to be replaced; "" if it is."""

    def inert(self, original: Any, key: Key) -> Any:
        """Return what takes the place of ``original`` and does what it does unless something is switched on."""

    def active(self, original: Any, outer: Any) -> Any:
        """Return what a conversion switches on; ``outer`` is what an enclosing one has on, or None."""


@dataclass(frozen=True, slots=True)
class Patch:
    """One function of coremltools and what stands in for it."""

    owner: Any
    attribute: str
    known: str
    """The digest of the source that the replacement was written against."""
    make: Callable[[Any], Any]
    """Gives the stand-in, told the original function; a class method's takes the class first."""
    reason: str
    """What the replacement is for, in words."""

    @property
    def name(self) -> str:
        """The function's name, for people."""
        return f"{self.owner.__name__.rpartition('.')[2]}.{self.attribute}"

    @property
    def fits(self) -> bool:
        """Whether coremltools holds the source that the replacement was written against."""
        return digest(inspect.getattr_static(self.owner, self.attribute, None)) == self.known

    def objection(self, original: Any) -> str:
        """Return why the function is not to be replaced; "" if it is."""
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

    def active(self, original: Any, outer: Any) -> Any:  # noqa: ARG002 - a stand-in takes the place of an outer one
        """Return the stand-in."""
        return self.make(getattr(original, "__func__", original))


@dataclass(slots=True)
class _Standing:
    """An inert half that is in place."""

    replacement: Replacement
    original: Any
    inert: Any
    inherited: bool
    """Whether the owner had the original from a base class."""
    holders: int = 0


def _hold(replacement: Replacement, said: set[str]) -> _Standing | None:
    """Put the inert half in place unless it is there, and count the holder; None where it must not be replaced.

    The reason is logged then, unless it is among those that were ``said``.
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
    """Count a holder out, and put the original back after the last one, unless somebody has replaced ours since."""
    standing.holders -= 1
    if standing.holders:
        return
    owner, attribute = standing.replacement.owner, standing.replacement.attribute
    key = (id(owner), attribute)
    if vars(owner).get(attribute) is standing.inert:
        if standing.inherited:
            delattr(owner, attribute)
        else:
            setattr(owner, attribute, standing.original)
    if _standing.get(key) is standing:
        del _standing[key]


def objection_to(replacement: Replacement) -> str:
    """Return why a replacement would not be put in place, "" where it would or is."""
    standing = _standing.get((id(replacement.owner), replacement.attribute))
    current = inspect.getattr_static(replacement.owner, replacement.attribute, None)
    return "" if standing is not None and current is standing.inert else replacement.objection(current)


def hold(replacement: Replacement) -> Any:
    """Put the inert half of a replacement in place for every thread, until :func:`release` gets what is returned."""
    with _lock:
        return _hold(replacement, set())


def release(held: Any) -> None:
    """Let go of what :func:`hold` returned, which is None where coremltools was not to be changed."""
    if held is not None:
        with _lock:
            _release(held)


@dataclass(slots=True)
class _Held:
    """What one ``with`` block holds."""

    standing: list[_Standing] = field(default_factory=list)
    entries: dict[Key, Any] = field(default_factory=dict)


@contextmanager
def replacing(replacements: Iterable[Replacement]) -> Iterator[None]:
    """Have replacements act within a ``with`` block, in this thread alone; afterwards coremltools is what it was."""
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
        held.entries.clear()  # what a copy of this context still holds does nothing any more
        with _lock:
            for standing in reversed(held.standing):
                _release(standing)
