"""Read a msgspec struct from a TOML file, reporting each mistake in one line: the file, the key, the expected value.

msgspec names the place and the type (``Expected `int`, got `str` - at `$.gamma_seed```), but neither the file
nor the value. TOML's parser names the line. This module turns both into the harness's own messages.
"""

from __future__ import annotations

import difflib
import os
import re
import sys
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_type_hints

import msgspec

from harness.errors import ZooFileError
from harness.system import limited_read

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

Struct = TypeVar("Struct", bound=msgspec.Struct)

LIMIT_BYTES = 1_000_000
"""Largest size of a file in bytes; a zoo file has some hundred."""

_EXPECTED = {
    "int": "an integer",
    "str": "a string",
    "bool": "true or false",
    "float": "a number",
    "object": "a table",
}


def place(path: Path) -> str:
    """Return a file's name for messages: its folder's name and its own; in a zoo of the user's own, its whole path."""
    if os.environ.get("ANE_HARNESS_MODELS"):
        return str(path)
    return f"{path.parent.name}/{path.name}"


def hint(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean hidden_size?"``, or "" if no known name is similar."""
    near = difflib.get_close_matches(name, sorted(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _load(path: Path) -> dict[str, Any]:
    where = place(path)
    try:
        return tomllib.loads(limited_read.read(path, LIMIT_BYTES).decode())
    except tomllib.TOMLDecodeError as error:
        raise ZooFileError(f"{where}: not valid TOML: {error}") from error
    except UnicodeDecodeError as error:
        raise ZooFileError(f"{where}: not UTF-8: {error.reason} at byte {error.start}") from error
    except RecursionError:
        raise ZooFileError(f"{where}: tables or lists inside each other without end") from None
    except ValueError as error:  # such as an integer of thousands of digits
        raise ZooFileError(f"{where}: {error}") from None
    except OSError as error:
        raise ZooFileError(f"{where}: {error.strerror or error}") from error


def read(path: Path, struct: type[Struct], **given: Any) -> Struct:
    """Read a struct from a TOML file.

    Parameters
    ----------
    path: the file.
    struct: the type that defines its keys.
    given: fields of the struct that are not in the file.

    Raises
    ------
    ZooFileError: if the file cannot be read, is not TOML, or its keys or values do not fit the struct.
    """
    raw = _load(path)
    known = set(struct.__struct_fields__) - set(given)
    for name in raw:
        if name not in known:
            raise ZooFileError(f"{place(path)}: {name}: no such key{hint(name, known)}")
    try:
        return msgspec.convert(raw | given, struct)
    except msgspec.ValidationError as error:
        raise ZooFileError(f"{place(path)}: {_explain(str(error), raw, struct)}") from error


def _explain(text: str, raw: Mapping[str, Any], struct: type[msgspec.Struct]) -> str:
    """Turn msgspec's message into ``key: expected an integer, got '64k'``."""
    if missing := re.search(r"missing required field `(\w+)`", text):
        return f"{missing[1]}: missing"
    found = re.search(r"`\$\.(\w+)", text)
    if found is None:
        return text
    name, value = found[1], raw[found[1]]
    if "[...]" in text:  # a table with values of one type: msgspec does not say which value is wrong
        inner = next(key for key, item in value.items() if not isinstance(item, str))
        name, value = f"{name}.{inner}", value[inner]
    if expected := re.search(r"Expected `(\w+)", text):
        wanted = _EXPECTED.get(expected[1], expected[1])
    else:
        wanted = " or ".join(repr(choice) for choice in get_args(get_type_hints(struct)[name]))
    return f"{name}: expected {wanted}, got {value!r}"
