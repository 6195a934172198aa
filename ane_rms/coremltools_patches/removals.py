"""Record which passes a user removes from a pipeline while ``ane_rms.install()`` is in effect.

Under ``install()`` a plain ``ct.PassPipeline`` gets the passes of ``ane_rms`` only when a conversion uses it. A user
who removes one earlier, ``pipeline.remove_passes({"common::fuse_rms_norm"})``, expects it to stay removed, but
coremltools keeps no record of that.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import coremltools as ct

from ane_rms.coremltools_patches.guard import digest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ane_rms.coremltools_patches.guard import Key

KNOWN = "8c76e5b3c4c2b4b1"
"""The digest of ``PassPipeline.remove_passes``."""

_REMOVED = "_ane_rms_removed"


def removed_by_name(pipeline: Any) -> frozenset[str]:
    """Return the passes that were removed from a pipeline while removals were recorded."""
    found: frozenset[str] = getattr(pipeline, _REMOVED, frozenset())
    return found


@dataclass(frozen=True, slots=True)
class NotedRemovals:
    """Replaces ``PassPipeline.remove_passes``."""

    owner: Any = ct.PassPipeline
    attribute: str = "remove_passes"

    def objection(self, original: Any) -> str:
        """Return why the method must not be replaced; "" if it may be."""
        if digest(original) == KNOWN:
            return ""
        return "PassPipeline.remove_passes is not the one known; a pass taken out of a pipeline is put back"

    def inert(self, original: Any, key: Key) -> Any:  # noqa: ARG002 - it does the same in every thread
        """Return the method, which records the passes that it removes."""

        @functools.wraps(original)
        def remove_passes(pipeline: Any, passes_names: Iterable[str]) -> None:
            names = list(passes_names)
            original(pipeline, names)
            setattr(pipeline, _REMOVED, removed_by_name(pipeline) | frozenset(names))

        return remove_passes

    def active(self, original: Any, outer: Any) -> Any:  # noqa: ARG002 - nothing to switch on
        """Return a mark."""
        return True
