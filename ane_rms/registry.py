"""One registry for everything that is chosen by name: lowerings, metrics, compression schemes, output formats, ...

A registry is a mapping from name to entry, in the order of registration. Registering a name twice is an error that says
where the first entry was defined, and looking up an unknown name is an error that offers the nearest known ones.

This module imports nothing of coremltools, so that the harness can load it without ``ane_rms``.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Unknown = Callable[[str, str, Iterable[str]], Exception]

Entry = TypeVar("Entry")


def unknown_name(kind: str, name: str, known: Iterable[str]) -> ValueError:
    """Return the error for a name that is not registered: ``unknown lowering 'max_bas'; did you mean 'max_abs'?``."""
    names = sorted(known)
    near = difflib.get_close_matches(str(name), names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names)}"
    return ValueError(f"unknown {kind} {name!r}; {hint}")


class Registry(Mapping[str, Entry]):
    """Entries by name, in the order of registration.

    Parameters
    ----------
    kind: the singular noun for an entry in messages, for example ``lowering``.
    unknown: makes the error for an unknown name from the kind, the name and the known names.
    """

    def __init__(self, kind: str, unknown: Unknown = unknown_name) -> None:
        self.kind = kind
        self._unknown = unknown
        self._entries: dict[str, Entry] = {}
        self._places: dict[str, str] = {}

    def add(self, name: str, entry: Entry, definition: Callable[..., object] | None = None) -> Entry:
        """Register an entry and return it.

        Parameters
        ----------
        name: its name.
        entry: the entry.
        definition: the function that defines the entry. Default: the place of the caller.

        Raises
        ------
        ValueError: if the name is registered already, with the place of the first entry.
        """
        if name in self._entries:
            raise ValueError(f"a {self.kind} named {name!r} is registered already, at {self._places[name]}")
        self._entries[name] = entry
        self._places[name] = _place(definition)
        return entry

    def register(self, function: Entry) -> Entry:
        """Register a function under its own name and return it; to be used as a decorator.

        Raises
        ------
        ValueError: as :meth:`add`.
        """
        definition = cast("Callable[..., object]", function)
        return self.add(definition.__name__, function, definition)

    def remove(self, name: str) -> None:
        """Remove an entry, for a test that registers one of its own.

        Raises
        ------
        Exception: the registry's own error, if the name is not registered.
        """
        self.check(name)
        del self._entries[name], self._places[name]

    def check(self, name: str) -> str:
        """Return ``name`` if it is registered.

        Raises
        ------
        Exception: otherwise, the registry's own error with the nearest names.
        """
        if name not in self._entries:
            raise self._unknown(self.kind, name, self._entries)
        return name

    def place(self, name: str) -> str:
        """Return where an entry was defined, as ``path:line``."""
        return self._places[self.check(name)]

    @property
    def default(self) -> str:
        """The name registered first."""
        return next(iter(self._entries))

    def __getitem__(self, name: str) -> Entry:
        """Return the entry of a name.

        Raises
        ------
        Exception: the registry's own error, if the name is not registered.
        """
        return self._entries[self.check(name)]

    def get(self, name: str, default: Any = None) -> Any:
        """Return the entry of a name, or ``default``; ``Mapping.get`` would expect a ``KeyError``."""
        return self._entries.get(name, default)

    def __contains__(self, name: object) -> bool:
        """Whether a name is registered."""
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names in the order of registration."""
        return iter(self._entries)

    def __len__(self) -> int:
        """Return the number of entries."""
        return len(self._entries)


def _place(definition: Callable[..., object] | None) -> str:
    """Return the path and line of a function, or of the code that calls :meth:`Registry.add`."""
    code = getattr(inspect.unwrap(definition), "__code__", None) if definition is not None else None
    if code is not None:
        return f"{code.co_filename}:{code.co_firstlineno}"
    here = inspect.currentframe()
    caller = here.f_back.f_back if here is not None and here.f_back is not None else None
    return "an unknown place" if caller is None else f"{caller.f_code.co_filename}:{caller.f_lineno}"
