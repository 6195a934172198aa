"""Child processes that one test leaves to the next: each would import torch, coremltools and transformers again.

Where the system can fork, the further ones are forked from a process that has imported them.
"""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.run.jobs import MODULES
from harness.workers.child import Child
from harness.workers.nursery import Nursery, fresh, surroundings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.workers.nursery import Start

OURS = ("ANE_", "COREML_SCRIPT", "COLUMNS", "NO_COLOR")
"""Beginnings of the variables that no library reads when it is imported."""
OF_ONE_TEST = "PYTEST_CURRENT_TEST"
"""The one variable that pytest changes from test to test."""


class KeptChildren:
    """Takes the place of `Child`: a closed child at rest is given to the next that asks in the same surroundings."""

    def __init__(self) -> None:
        self._at_rest: defaultdict[Any, list[_Kept]] = defaultdict(list)
        self._nurseries: dict[Any, Nursery] = {}

    def __call__(self, environment: Mapping[str, str] | None = None, start: object = None) -> Child:  # noqa: ARG002
        """Return a child with an environment, a kept one if there is any; a pool's own nursery is not asked."""
        variables = {**os.environ, **(environment or {})}
        variables.pop(OF_ONE_TEST, None)
        at_rest = self._at_rest[Path.cwd(), frozenset(variables.items())]
        return at_rest.pop() if at_rest else _Kept(environment, at_rest, self._start(variables))

    def _start(self, variables: Mapping[str, str]) -> Start:
        """Return the start of a child; the libraries read their own variables when they are imported."""
        if sys.platform != "linux":
            return fresh
        theirs = frozenset(item for item in variables.items() if not item[0].startswith(OURS))
        if theirs not in self._nurseries or self._nurseries[theirs].over:
            self._nurseries[theirs] = Nursery(MODULES, surroundings(variables))
        return self._nurseries[theirs]

    def close(self) -> None:
        """End them all."""
        for at_rest in self._at_rest.values():
            for child in at_rest:
                child.end()
        for nursery in self._nurseries.values():
            nursery.close()


class _Kept(Child):
    def __init__(self, environment: Mapping[str, str] | None, at_rest: list[_Kept], start: Start) -> None:
        super().__init__(environment, start=start)
        self._at_rest = at_rest

    def close(self) -> None:
        """Leave the child to the next test, unless it is at work."""
        if self.busy:
            self.end()
        else:
            self._at_rest.append(self)

    def end(self) -> None:
        super().close()
