"""Replace a function of coremltools by a faster one with the same results.

The results are the same in every thread, so the stand-in takes the original's place without asking whether the calling
thread's conversion has switched it on, as :class:`ane_rms.coremltools_patches.guard.Patch` does on each call.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ane_rms.coremltools_patches.guard import digest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ane_rms.coremltools_patches.guard import Key


@dataclass(frozen=True, slots=True)
class InEveryThread:
    """One function of coremltools and its stand-in, the same for all threads."""

    owner: Any
    attribute: str
    known: str
    """The digest of the source that the stand-in was written for."""
    make: Callable[[Any], Any]
    """Returns the stand-in, given the original."""
    reason: str
    """The purpose of the replacement, for messages."""
    read: Mapping[str, str] = field(default_factory=dict)
    """Other functions of the owner whose work the stand-in does, with the digest of the source of each."""

    @property
    def name(self) -> str:
        """The function's name, for messages."""
        return f"{self.owner.__name__.rpartition('.')[2]}.{self.attribute}"

    @property
    def fits(self) -> bool:
        """Whether coremltools contains the sources that the stand-in was written for."""
        return not self.objection(getattr(self.owner, self.attribute, None))

    def objection(self, original: Any) -> str:
        """Return why the function must not be replaced; "" if it may be."""
        others = {name: digest(getattr(self.owner, name, None)) for name in self.read}
        if digest(original) == self.known and others == self.read:
            return ""
        return f"{self.name} is not the one known; converting without this: {self.reason}"

    def inert(self, original: Any, key: Key) -> Any:  # noqa: ARG002 - it does the same in every thread
        """Return the stand-in."""
        return functools.wraps(original)(self.make(original))

    def active(self, original: Any, outer: Any) -> Any:  # noqa: ARG002 - nothing to switch on
        """Return a mark."""
        return True
