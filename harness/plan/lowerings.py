"""The names and traits of the lowerings, known before ``ane_rms`` and with it coremltools are imported.

A lowering is one function of :mod:`ane_rms.passes.strategies` under ``@strategy``, and is named nowhere else. Once that
module is imported its registry answers. Before, the decorated functions of its source do.
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
    """Return the name of the lowering used where none is named."""
    return lowerings()[0]


def protects_squares(name: str) -> bool:
    """Return whether a lowering keeps squares inside one op, or rescales rows first; without either they overflow."""
    registered = _registered()
    if registered and name in registered:
        return bool(registered[name].squares_stay_inside or registered[name].rescales_rows)
    return bool({"squares_stay_inside", "rescales_rows"} & _declared().get(name, frozenset()))


def _registered() -> Any:
    """Return the registry of lowerings; None before its module is imported, and while that is under way."""
    return getattr(sys.modules.get(MODULE), "STRATEGIES", None)


@cache
def _declared() -> dict[str, frozenset[str]]:
    """Return the traits of the functions under ``@strategy(...)`` in the source, by name, in its order."""
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
