"""Child processes that one test leaves to the next: each would import torch, coremltools and transformers again."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.workers.child import Child

if TYPE_CHECKING:
    from collections.abc import Mapping

OF_ONE_TEST = "PYTEST_CURRENT_TEST"
"""The one variable that pytest changes from test to test."""


class KeptChildren:
    """Takes the place of `Child`: a closed child at rest is given to the next that asks in the same surroundings."""

    def __init__(self) -> None:
        self._at_rest: defaultdict[Any, list[_Kept]] = defaultdict(list)

    def __call__(self, environment: Mapping[str, str] | None = None) -> Child:
        """Return a child with an environment, a kept one if there is any."""
        variables = {**os.environ, **(environment or {})}
        variables.pop(OF_ONE_TEST, None)
        at_rest = self._at_rest[Path.cwd(), frozenset(variables.items())]
        return at_rest.pop() if at_rest else _Kept(environment, at_rest)

    def close(self) -> None:
        """End them all."""
        for at_rest in self._at_rest.values():
            for child in at_rest:
                child.end()


class _Kept(Child):
    def __init__(self, environment: Mapping[str, str] | None, at_rest: list[_Kept]) -> None:
        super().__init__(environment)
        self._at_rest = at_rest

    def close(self) -> None:
        """Leave the child to the next test, unless it is at work."""
        if self.busy:
            self.end()
        else:
            self._at_rest.append(self)

    def end(self) -> None:
        super().close()
