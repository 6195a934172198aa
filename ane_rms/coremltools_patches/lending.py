"""Lend entries to a table of coremltools for one conversion: dtypes, translations of torch ops, passes.

The table itself is not changed. A mapping takes its place in the module or object that has it. The mapping looks up
the entries lent by the calling thread's conversion first and the table second, and passes every change to the table.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ane_rms.coremltools_patches.guard import switched_on

if TYPE_CHECKING:
    from ane_rms.coremltools_patches.guard import Key

TORCH_FRONTEND = "coremltools.converters.mil.frontend.torch"


class Lent(MutableMapping[Any, Any]):
    """A table together with the entries lent to it in this thread."""

    def __init__(self, table: MutableMapping[Any, Any], key: Key) -> None:
        self._table = table
        self._key = key

    def _lent(self) -> Mapping[Any, Any]:
        return switched_on(self._key) or {}

    def __getitem__(self, key: Any) -> Any:
        lent = self._lent()
        return lent[key] if key in lent else self._table[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self._table[key] = value

    def __delitem__(self, key: Any) -> None:
        del self._table[key]

    def __iter__(self) -> Iterator[Any]:
        yield from self._table
        yield from [key for key in self._lent() if key not in self._table]

    def __len__(self) -> int:
        return sum(1 for _ in self)


@dataclass(frozen=True, slots=True)
class Loan:
    """Entries lent to one table."""

    owner: Any
    attribute: str
    entries: Mapping[Any, Any]

    def objection(self, original: Any) -> str:
        """Return why nothing can be lent; "" if entries can be."""
        if isinstance(original, MutableMapping):
            return ""
        return f"{self.attribute} is not the table known; converting without {', '.join(map(str, self.entries))}"

    def inert(self, original: Any, key: Key) -> Any:
        """Return the mapping that combines the table with lent entries."""
        return Lent(original, key)

    def active(self, original: Any, outer: Any) -> Any:  # noqa: ARG002 - entries do not depend on the table
        """Return the entries, including those of an enclosing conversion."""
        return {**(outer or {}), **self.entries}


def loans_to_frontend(tables: Mapping[str, Mapping[Any, Any]]) -> list[Loan]:
    """Return loans to tables of coremltools' torch frontend, one for each module that has imported the table.

    Parameters
    ----------
    tables: the entries to lend, by the name of a dictionary of ``coremltools.converters.mil.frontend.torch.utils``; a
        key that coremltools already has keeps its value.
    """
    modules = [module for name, module in list(sys.modules.items()) if name.startswith(TORCH_FRONTEND)]
    return [loan for table, entries in tables.items() for loan in _loans(modules, table, entries)]


def _loans(modules: list[Any], table: str, entries: Mapping[Any, Any]) -> list[Loan]:
    original = getattr(sys.modules[f"{TORCH_FRONTEND}.utils"], table, {})
    lacking = {key: value for key, value in entries.items() if key not in original or _is_lent(original, key)}
    return [Loan(module, table, lacking) for module in modules if lacking and table in vars(module)]


def _is_lent(table: Any, key: Any) -> bool:
    return isinstance(table, Lent) and key in table._lent()  # noqa: SLF001 - of this module


def torch_ops() -> Any:
    """Return coremltools' registry of torch ops; its table is the attribute ``name_to_func_mapping``."""
    from coremltools.converters.mil.frontend.torch.torch_op_registry import _TORCH_OPS_REGISTRY

    return _TORCH_OPS_REGISTRY


def loan_of_torch_ops(translations: Mapping[str, Any]) -> Loan:
    """Return a loan of translations to coremltools' registry of torch ops, in place of its own."""
    return Loan(torch_ops(), "name_to_func_mapping", translations)
