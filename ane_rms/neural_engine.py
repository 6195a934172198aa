"""Give the limits of Neural Engine families that a conversion needs, from neural_engine.json beside this module.

The file contains every figure with its source; `harness.engine` reads all of it.
"""

from __future__ import annotations

import json
import math
from functools import cache
from pathlib import Path
from typing import Any


@cache
def _families() -> dict[str, Any]:
    text = (Path(__file__).parent / "neural_engine.json").read_text(encoding="utf-8")
    families: dict[str, Any] = json.loads(text)["families"]
    return families


def families() -> tuple[str, ...]:
    """Return the keys of the families, oldest first."""
    return tuple(_families())


def limit(name: str, family: str | None = None) -> float:
    """Return a limit of a family, or the smallest over all families; infinity if there is none.

    Raises
    ------
    ValueError: for an unknown family.
    """
    if family is not None and family not in _families():
        raise ValueError(f"unknown family {family!r}; known: {', '.join(_families())}")
    chosen = [_families()[family]] if family is not None else _families().values()
    values = [one["limits"][name]["value"] for one in chosen]
    return min(math.inf if value is None else float(value) for value in values)


def families_at(name: str, size: float) -> tuple[str, ...]:
    """Return the names of the families whose limit a size reaches, for messages."""
    return tuple(one["name"] for key, one in _families().items() if limit(name, key) <= size)
