"""Every table of every command is printed in one place, which knows the width of the terminal."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
PRINTER = ROOT / "harness" / "report" / "formats.py"


def imported(path: Path) -> set[str]:
    """Return the first names of the modules that a file imports, inside functions as well."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    return {name.partition(".")[0] for name in names}


def test_one_module_makes_tables():
    makers = [path for path in (ROOT / "harness").rglob("*.py") if "tabulate" in imported(path)]
    assert makers == [PRINTER]
