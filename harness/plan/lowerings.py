"""Give the names and traits of the lowerings without importing ``ane_rms``, which imports coremltools.

A lowering is a function of :mod:`ane_rms.passes.strategies` decorated with ``@strategy``, and is named nowhere else.
Once that module is imported, its registry is read. Before that, the decorators in its source are read.
"""

from __future__ import annotations

import ast
import sys
from functools import cache
from typing import Any

from harness.system.light_registry import ane_rms_folder

MODULE = "ane_rms.passes.strategies"
DECORATOR = "strategy"


def lowerings() -> tuple[str, ...]:
    """Return the names of all lowerings, the default one first."""
    return tuple(_registered() or _declared())


def default_lowering() -> str:
    """Return the name of the lowering that is used if none is named."""
    return lowerings()[0]


def protects_squares(name: str) -> bool:
    """Return whether a lowering keeps squares inside one op or rescales rows first, so that squares do not overflow."""
    registered = _registered()
    if registered and name in registered:
        return bool(registered[name].squares_stay_inside or registered[name].rescales_rows)
    return bool({"squares_stay_inside", "rescales_rows"} & _declared().get(name, frozenset()))


def _registered() -> Any:
    """Return the registry of lowerings; None before its module is imported completely."""
    return getattr(sys.modules.get(MODULE), "STRATEGIES", None)


@cache
def _declared() -> dict[str, frozenset[str]]:
    """Return the traits of the functions decorated with ``@strategy(...)``, by name, in the order of the source."""
    source = ane_rms_folder().joinpath(*MODULE.split(".")[1:]).with_suffix(".py")
    tree = ast.parse(source.read_text(encoding="utf-8"))
    return {
        node.name: _traits(decorator)
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
        for decorator in node.decorator_list
        if isinstance(decorator, ast.Call) and isinstance(decorator.func, ast.Name) and decorator.func.id == DECORATOR
    }


def _traits(decorator: ast.Call) -> frozenset[str]:
    return frozenset(one.arg for one in decorator.keywords if one.arg and ast.literal_eval(one.value) is True)
