"""``install``: plain ``ct.convert`` does what ``ane_rms.convert`` does.

A stand-in takes the place of ``coremltools.convert`` and of ``coremltools.converters.convert``. It converts through
the function that it replaced, which may be somebody's wrapper, and does nothing of its own where no install is in
effect. A name that was bound to ``ct.convert`` before cannot be covered; :func:`install` logs where there is one.
"""

from __future__ import annotations

import functools
import inspect
import sys
import threading
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import coremltools as ct
from coremltools import _logger as logger
from coremltools import converters

from ane_rms.conversion import convert_through, is_handed_over, plain_convert
from ane_rms.coremltools_patches import guard
from ane_rms.coremltools_patches.removals import NotedRemovals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PLACES = (ct, converters)
"""The modules whose ``convert`` is replaced."""

NAMES = tuple(inspect.signature(plain_convert).parameters)

_lock = threading.RLock()
_here: ContextVar[dict[str, Any] | None] = ContextVar("_here", default=None)
"""The options of the innermost :func:`installed` of this thread; None outside."""

_everywhere: list[dict[str, Any]] = []
"""The options of :func:`install`; empty without one."""

_held: list[StandIn] = []
"""The stand-ins that :func:`install` holds."""

_removals: list[Any] = []
"""What :func:`install` holds of :mod:`ane_rms.coremltools_patches.removals`."""


class StandIn:
    """What stands in the place of a ``convert`` function, with the number of those that want it there."""

    def __init__(self, place: Any) -> None:
        self.place = place
        self.replaced: Callable[..., Any] = place.convert
        self.function = self._function()
        self.holders = 0

    def _function(self) -> Callable[..., Any]:
        replaced = self.replaced

        @functools.wraps(replaced)
        def convert(*args: Any, **kwargs: Any) -> Any:
            options = _options_in_effect()
            given = {**dict(zip(NAMES, args, strict=False)), **kwargs}
            if (
                options is None
                or "model" not in given
                or len(args) > len(NAMES)
                or len(given) < len(args) + len(kwargs)
            ):
                return replaced(*args, **kwargs)  # which raises the TypeError of a wrong call
            if is_handed_over(given.get("pass_pipeline")):
                return replaced(*args, **kwargs)  # a conversion of ours came through somebody's wrapper
            return convert_through(replaced, given.pop("model"), given, **options)

        convert.__dict__[_MARK] = self
        return convert


_MARK = "_ane_rms_stand_in"


def _options_in_effect() -> dict[str, Any] | None:
    return _here.get() or (_everywhere[-1] if _everywhere else None)


def _current(place: Any) -> StandIn | None:
    """Return our stand-in where it is the ``convert`` of a module."""
    found = getattr(place.convert, "__dict__", {}).get(_MARK)
    return found if isinstance(found, StandIn) and found.function is place.convert else None


def _hold() -> list[StandIn]:
    """Put a stand-in wherever there is none, and hold those that stand."""
    found = []
    for place in PLACES:
        standing = _current(place)
        if standing is None:
            standing = StandIn(place)
            place.convert = standing.function
        standing.holders += 1
        found.append(standing)
    return found


def _release(held: list[StandIn]) -> None:
    """Let go of stand-ins, and put back what those replaced that nobody holds any more."""
    for one in reversed(held):
        one.holders -= 1
    held.clear()
    for place in PLACES:
        while (standing := _current(place)) is not None and not standing.holders:
            place.convert = standing.replaced


def install(*, for_ane: bool = False) -> None:
    """Make plain ``ct.convert`` do what ``ane_rms.convert`` does, in every thread. Doing it twice is doing it once.

    ``coremltools.converters.convert`` is covered as well. A name that a module has imported before,
    ``from coremltools import convert``, keeps converting plainly; a log line names such modules. A pass of ours that is
    taken out of a pipeline, ``pipeline.remove_passes({"common::fuse_rms_norm"})``, stays out.

    Parameters
    ----------
    for_ane: whether to fuse and lower for every compute unit, not for ``CPU_AND_NE`` alone.
    """
    with _lock:
        if not _everywhere or any(_current(place) is None for place in PLACES):
            _held.extend(_hold())
        if not _removals:
            _removals.append(guard.hold(NotedRemovals()))
        _everywhere[:] = [{"for_ane": for_ane}]
    _tell_of_uncovered()


def uninstall() -> None:
    """Put back the very functions that :func:`install` replaced. Without an install it does nothing.

    Raises
    ------
    RuntimeError: if something else has replaced ``ct.convert`` since: putting ours back would undo that.
    """
    with _lock:
        if _everywhere and any(_is_elses(place) for place in PLACES):
            raise RuntimeError(
                "coremltools.convert was replaced by something else after ane_rms.install(); undo that first"
            )
        _everywhere.clear()
        _release(_held)
        while _removals:
            guard.release(_removals.pop())


def _is_elses(place: Any) -> bool:
    replaced = [one.replaced for one in _held if one.place is place]
    return _current(place) is None and place.convert not in replaced


@contextmanager
def installed(*, for_ane: bool = False) -> Iterator[None]:
    """Have :func:`install` in effect within a ``with`` block, in this thread alone.

    Afterwards, ``ct.convert`` is what it was before. A thread that the block starts converts plainly: for several
    threads use :func:`install`, or enter the block in each.

    Parameters
    ----------
    for_ane: whether to fuse and lower for every compute unit, not for ``CPU_AND_NE`` alone.
    """
    held: list[StandIn] = []
    token = _here.set({"for_ane": for_ane})
    try:
        with _lock:
            held += _hold()
        _tell_of_uncovered()
        with guard.replacing([NotedRemovals()]):
            yield
    finally:
        _here.reset(token)
        with _lock:
            _release(held)


def _tell_of_uncovered() -> None:
    """Log which modules hold ``ct.convert`` itself under a name of theirs, which nothing can replace for them."""
    modules = [
        name
        for name, module in list(sys.modules.items())
        if name.partition(".")[0] not in ("coremltools", "ane_rms")
        and any(value is plain_convert for value in list(getattr(module, "__dict__", {}).values()))
    ]
    if modules:
        logger.warning(
            f"ane_rms: {', '.join(sorted(modules))} imported coremltools.convert before ane_rms.install(): "
            "that name goes on converting plainly"
        )
