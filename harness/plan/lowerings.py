"""The names of the lowerings, known before ``ane_rms`` and with it coremltools are imported.

A lowering is one function of :mod:`ane_rms.passes.strategies` under ``@strategy``, and is named nowhere else. Once that
module is imported its registry answers. Before, the names are read from the decorated functions of its source.
"""

from __future__ import annotations

import ast
import sys
from functools import cache

from harness.system.light_registry import ane_rms_folder

MODULE = "ane_rms.passes.strategies"
DECORATOR = "strategy"


def lowerings() -> tuple[str, ...]:
    """Return the names of all lowerings, the default one first."""
    loaded = sys.modules.get(MODULE)
    registered = getattr(loaded, "STRATEGIES", None)  # None while the module is still being imported
    return tuple(registered) if registered else _declared()


def default_lowering() -> str:
    """Return the name of the lowering used where none is named."""
    return lowerings()[0]


@cache
def _declared() -> tuple[str, ...]:
    """Return the functions under ``@strategy(...)`` in the source, in its order."""
    source = ane_rms_folder().joinpath(*MODULE.split(".")[1:]).with_suffix(".py")
    tree = ast.parse(source.read_text(encoding="utf-8"))
    return tuple(
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and any(_is_strategy(one) for one in node.decorator_list)
    )


def _is_strategy(decorator: ast.expr) -> bool:
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    return isinstance(called, ast.Name) and called.id == DECORATOR
