"""Give each conversion the builder's state for itself, so that several threads may convert at once.

coremltools keeps the state of its builder in module variables: the stack of open blocks, of scopes, of ops to insert
before, and the numbers that make names unique. Two conversions at once mix them up: ops land in the other's program,
and names depend on what else has run. Here each conversion has its own, as a process that converts once has. A plain
``ct.convert`` that another thread begins meanwhile has its own as well; one that had begun before keeps the variables
of coremltools.
"""

from __future__ import annotations

import functools
import sys
import threading
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from coremltools import _logger as logger
from coremltools.converters import _converters_entry
from coremltools.converters.mil import converter
from coremltools.converters.mil.mil import Block, Builder, Program, block, builder, scope

from ane_rms.coremltools_patches.guard import Patch, objection_to, replacing, switched_on

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, MutableMapping

    from ane_rms.coremltools_patches.guard import Key, Replacement

REASON = "conversions in several threads at once, each with its own state of the builder"

_converting: dict[int, int] = {}
"""How many conversions of ours each thread is in, by the thread's identity."""


class Own:
    """A container that is the conversion's own in its thread, and coremltools' everywhere else."""

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
    """The replacement of a container that coremltools keeps in a module or class."""

    owner: Any
    attribute: str
    kind: type
    own: Any

    def objection(self, original: Any) -> str:
        """Return why the container is not to be replaced; "" if it is."""
        if isinstance(original, self.kind):
            return ""
        return f"{self.attribute} is not the container known; converting without this: {REASON}"

    def inert(self, original: Any, key: Key) -> Any:
        """Return what stands for coremltools' container."""
        return Own(original, key)

    def active(self, original: Any, outer: Any) -> Any:  # noqa: ARG002 - a conversion within a conversion has its own
        """Return the conversion's container."""
        return self.own


@dataclass(frozen=True, slots=True)
class PlainEntry:
    """The replacement of the function in which ``ct.convert`` converts: a plain conversion is isolated, too."""

    owner: Any = _converters_entry
    attribute: str = "mil_convert"

    def objection(self, original: Any) -> str:
        """Return why the function is not to be replaced; "" if it is."""
        return "" if original is converter.mil_convert else f"{self.attribute} is replaced already; not isolating it"

    def inert(self, original: Any, key: Key) -> Any:
        """Return a function that isolates its conversion unless that is done."""

        @functools.wraps(original)
        def mil_convert(model: Any, *args: Any, **kwargs: Any) -> Any:
            if switched_on(key):
                return original(model, *args, **kwargs)
            with isolated(model):
                return original(model, *args, **kwargs)

        return mil_convert

    def active(self, original: Any, outer: Any) -> Any:  # noqa: ARG002 - a mark
        """Return the mark of a conversion that is isolated."""
        return True


@contextmanager
def isolated(model: Any = None) -> Iterator[None]:
    """Have what is converted within a ``with`` block, in this thread, keep the builder's state for itself.

    Parameters
    ----------
    model: what is converted. New values of a MIL program are numbered on from those that its builder has named; every
        other conversion numbers from the beginning.
    """
    numbers: defaultdict[str, int] = defaultdict(int, Builder.name_count if isinstance(model, Program) else {})
    thread = threading.get_ident()
    _converting[thread] = _converting.get(thread, 0) + 1
    try:
        with replacing([*_functions(), *_containers(numbers), PlainEntry()]):
            yield
    finally:
        _converting[thread] -= 1
        if not _converting[thread]:
            del _converting[thread]
            if not _converts_plainly():
                Builder.name_count.clear()  # as coremltools does after each conversion


def _containers(numbers: MutableMapping[str, int]) -> list[Replacement]:
    scopes, ops = scope.ScopeStack(), list[Any]()
    found: list[Replacement] = [
        OwnContainer(Builder, "name_count", dict, numbers),
        OwnContainer(builder, "_BEFORE_OP_STACK", list, list[Any]()),
    ]
    for module in (scope, block, builder):
        found.append(OwnContainer(module, "SCOPE_STACK", dict, scopes))
        if "VALID_OPS_TO_COPY_SCOPE_INFO" in vars(module):
            found.append(OwnContainer(module, "VALID_OPS_TO_COPY_SCOPE_INFO", list, ops))
    return found


def _functions() -> list[Patch]:
    """Return the replacements of what opens, closes and asks for the current block: all of them, or none."""
    stack: list[Any] = []
    name = "coremltools.converters.mil"
    modules = [module for key, module in list(sys.modules.items()) if key.startswith(name)]
    asking = [module for module in modules if "curr_block" in vars(module)]
    found = [
        Patch(Block, "__enter__", "e4794fdb9390ce5b", lambda _: _enter(stack), REASON),
        Patch(Block, "__exit__", "dbd7c9eb11e77f2f", lambda _: _exit(stack), REASON),
        *[
            Patch(module, "curr_block", "fb7e9d761707e88e", lambda original: _ask(stack, original), REASON)
            for module in asking
        ],
    ]
    objections = [objection for one in found if (objection := objection_to(one))]
    if objections:
        logger.warning(f"ane_rms: {objections[0]}")
    return [] if objections else found


def _enter(stack: list[Any]) -> Callable[[Any], Any]:
    def enter(entered: Any) -> Any:
        stack.append(entered)
        return entered

    return enter


def _exit(stack: list[Any]) -> Callable[..., None]:
    def leave(left: Any, kind: Any, value: Any, traceback: Any) -> None:  # noqa: ARG001 - as Python calls it
        left._propagate_nonreplaceable_vars()  # noqa: SLF001 - as the original does
        stack.pop()

    return leave


def _ask(stack: list[Any], original: Callable[[], Any]) -> Callable[[], Any]:
    return lambda: stack[-1] if stack else original()  # which raises where no block is open


def _converts_plainly() -> bool:
    """Return whether a thread that is in no conversion of ours is in coremltools' conversion."""
    code = converter.mil_convert_to_proto.__code__
    for thread, frame in sys._current_frames().items():  # noqa: SLF001 - the way to another thread's calls
        walked: Any = None if thread in _converting else frame
        while walked is not None:
            if walked.f_code is code:
                return True
            walked = walked.f_back
    return False
