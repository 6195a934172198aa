"""``install``: make plain ``ct.convert`` do the same as ``ane_rms.convert``.

A stand-in takes the place of ``coremltools.convert`` and of ``coremltools.converters.convert``. It converts through
the function that it replaced, which may be another library's wrapper, and has no effect unless an install is active.
A name that was bound to ``ct.convert`` earlier cannot be replaced; :func:`install` logs the modules that have one.
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
from ane_rms.undoing import setting, undoing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PLACES = (ct, converters)
"""The modules whose ``convert`` is replaced."""

NAMES = tuple(inspect.signature(plain_convert).parameters)

_lock = threading.RLock()
_here: ContextVar[dict[str, Any] | None] = ContextVar("_here", default=None)
"""The options of the innermost :func:`installed` of this thread; None outside."""

_everywhere: list[dict[str, Any]] = []
"""The options of :func:`install`; empty if it is not in effect."""

_held: list[StandIn] = []
"""The stand-ins that :func:`install` has put in place."""

_removals = guard.Holder()
"""The holder of the replacement of :mod:`ane_rms.coremltools_patches.removals` under :func:`install`."""


class StandIn:
    """The replacement of a ``convert`` function, with the number of its holders."""

    def __init__(self, place: Any) -> None:
        self.place = place
        self.replaced: Callable[..., Any] = place.convert
        self.function = self._function()
        self.holders: set[object] = set()

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
                return replaced(*args, **kwargs)  # raises the TypeError of a wrong call
            if is_handed_over(given.get("pass_pipeline")):
                return replaced(*args, **kwargs)  # an ane_rms conversion came through a wrapper
            return convert_through(replaced, given.pop("model"), given, **options)

        convert.__dict__[_MARK] = self
        return convert


_MARK = "_ane_rms_stand_in"


def _options_in_effect() -> dict[str, Any] | None:
    return _here.get() or (_everywhere[-1] if _everywhere else None)


def _current(place: Any) -> StandIn | None:
    """Return our stand-in if it is the ``convert`` of a module."""
    found = getattr(place.convert, "__dict__", {}).get(_MARK)
    return found if isinstance(found, StandIn) and found.function is place.convert else None


def _hold(held: list[StandIn], holder: object) -> None:
    """Install a stand-in wherever there is none, note each in ``held``, and count the holder once."""
    for place in PLACES:
        standing = _current(place) or StandIn(place)
        held.append(standing)
        standing.holders.add(holder)
        place.convert = standing.function


def _release(held: list[StandIn], holder: object) -> None:
    """Release stand-ins, and restore the functions replaced by those without a holder."""
    for one in held:
        one.holders.discard(holder)
    for place in PLACES:
        while (standing := _current(place)) is not None and not standing.holders:
            place.convert = standing.replaced


def install(*, for_ane: bool = False) -> None:
    """Make plain ``ct.convert`` do the same as ``ane_rms.convert``, in every thread. A second call has no effect.

    ``coremltools.converters.convert`` is covered as well. A name that a module has imported earlier,
    ``from coremltools import convert``, keeps converting plainly; a log line names such modules. An ``ane_rms`` pass
    that is removed from a pipeline, ``pipeline.remove_passes({"common::fuse_rms_norm"})``, stays removed.

    Parameters
    ----------
    for_ane: whether to fuse and lower for every compute unit, not for ``CPU_AND_NE`` alone.
    """
    with _lock:
        if not _everywhere or any(_current(place) is None for place in PLACES):
            _hold(_held, _removals)
        _removals.hold(NotedRemovals())
        _everywhere[:] = [{"for_ane": for_ane}]
    _tell_of_uncovered()


def uninstall() -> None:
    """Restore the original functions that :func:`install` replaced. Without an install it does nothing.

    Raises
    ------
    RuntimeError: if other code has replaced ``ct.convert`` since; restoring the original would undo that.
    """
    with _lock:
        if _everywhere and any(_is_elses(place) for place in PLACES):
            raise RuntimeError(
                "coremltools.convert was replaced by something else after ane_rms.install(); undo that first"
            )
        _everywhere.clear()
        _release(_held, _removals)
        _held.clear()
        _removals.release()


def _is_elses(place: Any) -> bool:
    replaced = [one.replaced for one in _held if one.place is place]
    return _current(place) is None and place.convert not in replaced


@contextmanager
def installed(*, for_ane: bool = False) -> Iterator[None]:
    """Put :func:`install` in effect inside a ``with`` block, in this thread only.

    Afterwards ``ct.convert`` is restored. A thread that the block starts converts plainly; for several threads use
    :func:`install`, or enter the block in each.

    Parameters
    ----------
    for_ane: whether to fuse and lower for every compute unit, not for ``CPU_AND_NE`` alone.
    """
    held, holder = list[StandIn](), object()

    def undo() -> None:
        with _lock:
            _release(held, holder)

    with undoing(undo), setting(_here, {"for_ane": for_ane}):
        with _lock:
            _hold(held, holder)
        _tell_of_uncovered()
        with guard.replacing([NotedRemovals()]):
            yield


def _tell_of_uncovered() -> None:
    """Log which modules have the original ``ct.convert`` under a name of their own, which cannot be replaced."""
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
