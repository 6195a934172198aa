"""Give each conversion its own builder state, so that several threads can convert at once.

coremltools keeps the state of its builder in module variables: the stacks of open blocks, of scopes and of ops to
insert before, and the numbers that make names unique. Two simultaneous conversions mix them up: ops are added to the
other's program, and names depend on earlier conversions. Here each conversion has its own state, equal to that of a
process that converts once. A plain ``ct.convert`` that another thread begins meanwhile has its own as well; one that
began earlier keeps coremltools' variables. The symbols of unknown sizes are numbered for the process: a program may
hold some from before its conversion. No two threads get the same number.
"""

from __future__ import annotations

import faulthandler
import functools
import re
import sys
import tempfile
import threading
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from coremltools import _logger as logger
from coremltools.converters import _converters_entry
from coremltools.converters.mil import converter
from coremltools.converters.mil.mil import Block, Builder, Program, block, builder, scope

from ane_rms.coremltools_patches.guard import Patch, objection_to, replacing, switched_off, switched_on
from ane_rms.coremltools_patches.symbol_numbers import SymbolNumbers
from ane_rms.coremltools_patches.thread_state import OwnContainer
from ane_rms.undoing import undoing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, MutableMapping

    from ane_rms.coremltools_patches.guard import Key, Replacement

REASON = "conversions in several threads at once, each with its own state of the builder"

IDENTITY = re.compile(r"hread 0x([0-9a-f]+)")
CONVERTING = f" in {converter.mil_convert_to_proto.__name__}\n"
"""A thread's identity, and the call of a conversion, in the text of a thread's calls."""

_converting: dict[object, int] = {}
"""The identity of the thread of each ``ane_rms`` conversion."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Replaces the function in which ``ct.convert`` converts, so that every other conversion is isolated as well.

    Others are plain ones in other threads, and those that run inside this conversion, in a user's pass for example:
    nothing that this conversion has switched on is theirs.
    """

    is_own: Callable[[Any], bool]
    """Returns whether a conversion with a pass pipeline is this one."""
    owner: Any = _converters_entry
    attribute: str = "mil_convert"

    def objection(self, original: Any) -> str:
        """Return why the function is not to be replaced; "" if it is."""
        return "" if original is converter.mil_convert else f"{self.attribute} is replaced already; not isolating it"

    def inert(self, original: Any, key: Key) -> Any:
        """Return a function that isolates its conversion unless it is isolated already."""

        @functools.wraps(original)
        def mil_convert(model: Any, *args: Any, **kwargs: Any) -> Any:
            is_own = switched_on(key)
            if is_own is not None and is_own(kwargs.get("main_pipeline")):
                return original(model, *args, **kwargs)
            with switched_off(), isolated(model):
                return original(model, *args, **kwargs)

        return mil_convert

    def active(self, original: Any, outer: Any) -> Any:  # noqa: ARG002 - each conversion has its own
        """Return the function that knows this conversion."""
        return self.is_own


@contextmanager
def isolated(model: Any = None, is_own: Callable[[Any], bool] = lambda _: False) -> Iterator[None]:
    """Give conversions inside a ``with`` block, in this thread, their own builder state.

    Parameters
    ----------
    model: the model to convert. For a MIL program, the numbering of new values continues after those that its builder
    has named. Every other conversion starts the numbering anew.
    is_own: returns whether a conversion with a pass pipeline is the one that this block is for. Every other one inside
    the block gets a state of its own, and converts as if it stood outside.
    """
    numbers: defaultdict[str, int] = defaultdict(int, Builder.name_count if isinstance(model, Program) else {})
    conversion = object()

    def undo() -> None:
        _converting.pop(conversion, None)
        if not _converting and Builder.name_count and not _converts_plainly():
            Builder.name_count.clear()  # as coremltools does after each conversion

    with undoing(undo):
        _converting[conversion] = threading.get_ident()
        with replacing([*_functions(), SymbolNumbers(), *_containers(numbers), Entry(is_own)]):
            yield


def _containers(numbers: MutableMapping[str, int]) -> list[Replacement]:
    scopes, ops = scope.ScopeStack(), list[Any]()
    found: list[Replacement] = [
        OwnContainer(Builder, "name_count", dict, numbers, REASON),
        OwnContainer(builder, "_BEFORE_OP_STACK", list, list[Any](), REASON),
    ]
    for module in (scope, block, builder):
        found.append(OwnContainer(module, "SCOPE_STACK", dict, scopes, REASON))
        if "VALID_OPS_TO_COPY_SCOPE_INFO" in vars(module):
            found.append(OwnContainer(module, "VALID_OPS_TO_COPY_SCOPE_INFO", list, ops, REASON))
    return found


def _functions() -> list[Patch]:
    """Return the replacements of the functions that open, close and return the current block: all, or none."""
    stack: list[Any] = []
    name = "coremltools.converters.mil"
    modules = [module for key, module in list(sys.modules.items()) if key.startswith(name)]
    asking = [module for module in modules if "curr_block" in vars(module)]
    found = [
        Patch(Block, "__enter__", "e4794fdb9390ce5b", lambda _: _enter(stack), REASON),
        Patch(Block, "__exit__", "dbd7c9eb11e77f2f", lambda _: _exit(stack), REASON),
        *[Patch(module, "curr_block", "fb7e9d761707e88e", lambda _: _ask(stack), REASON) for module in asking],
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
    def leave(left: Any, kind: Any, value: Any, traceback: Any) -> None:  # noqa: ARG001 - Python's signature
        left._propagate_nonreplaceable_vars()  # noqa: SLF001 - as the original does
        stack.pop()

    return leave


def _ask(stack: list[Any]) -> Callable[[], Any]:
    def current_block() -> Any:
        if not stack:  # never another thread's, which coremltools' own variable may hold
            raise ValueError("Must call Builder inside an Function or Block")
        return stack[-1]

    return current_block


def _converts_plainly() -> bool:
    """Return whether a thread that is in no ``ane_rms`` conversion is in coremltools' conversion.

    It is read from the text of the threads' calls. :func:`sys._current_frames` would keep the values of a frame alive
    after its return, such as the package whose manifest is written when nobody holds it any more.
    """
    with tempfile.TemporaryFile() as file:
        faulthandler.dump_traceback(file, all_threads=True)
        file.seek(0)
        threads = file.read().decode(errors="replace").split("\n\n")
    ours = set(_converting.values())
    others = (calls for calls in threads if not ours & {int(one, 16) for one in IDENTITY.findall(calls)})
    return any(CONVERTING in calls for calls in others)
