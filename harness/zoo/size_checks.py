"""Check the sizes that a zoo file states: a width, a number of layers, of heads, of experts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from harness.errors import ZooFileError

if TYPE_CHECKING:
    from collections.abc import Mapping

NULL = "null"
_INTEGER = re.compile(r"^num_.*|.*_(size|dim|layers|heads|experts|rank|window|position_embeddings)$")
_LARGEST = 2**31 - 1
_MAY_BE_ZERO = frozenset({"num_kv_shared_layers"})


def check_sizes(fields: Mapping[str, Any], where: str) -> None:
    """Check that every size of a configuration is a positive integer.

    Raises
    ------
    ZooFileError: naming the file, the key and the expected value.
    """
    for name, value in fields.items():
        if not _INTEGER.match(name) or value == NULL:
            continue
        for item in value if isinstance(value, list) else (value,):
            if not isinstance(item, int) or isinstance(item, bool):
                raise ZooFileError(f"{where}.{name}: expected an integer, got {value!r}")
            if item < 1 and name not in _MAY_BE_ZERO:
                raise ZooFileError(f"{where}.{name}: expected a positive integer, got {value!r}")
            if item > _LARGEST:
                raise ZooFileError(
                    f"{where}.{name}: expected at most {_LARGEST}, got a number of {len(str(item))} digits"
                )
