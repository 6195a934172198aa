"""The direction of dependencies, read from the imports: an upward edge fails.

``cli -> report, regress -> store, stats`` and
``cli -> convert, runtime, metrics -> zoo, export, interpreter -> ane_rms``.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

ALLOWED = {
    "ane_rms": {"ane_rms"},
    "harness.text": set(),
    "harness.errors": {"harness.text"},
    "harness.collector": set(),
    "harness.command": set(),
    "harness.whole": set(),
    "harness.store": {"harness.command", "harness.errors", "harness.whole"},
    "harness.stats": set(),
    "harness.change_points": {"harness.stats"},
    "harness.expect": {"harness.regress", "harness.store"},
    "harness.history": {
        "harness.change_points",
        "harness.command",
        "harness.errors",
        "harness.metrics",
        "harness.store",
    },
    "harness.gates": {"harness.store", "harness.text"},
    "harness.times": {"harness.gates", "harness.stats", "harness.store"},
    "harness.regress": {"harness.gates", "harness.stats", "harness.store", "harness.times"},
    "harness.report.latency": {"harness.report", "harness.stats", "harness.store"},
    "harness.report.placement": {"harness.runtime"},
    "harness.report.norm": {"harness.report", "harness.store"},
    "harness.report": {"harness.errors", "harness.store", "harness.text"},
    "harness.interpreter": {"harness.errors"},
    "harness.shapes": {"harness.errors"},
    "harness.export": {"harness.checkpoint", "harness.errors", "harness.prompts", "harness.shapes", "harness.zoo"},
    "harness.multifunction": {"ane_rms"},
    "harness.checkpoint": {"harness.errors", "harness.whole", "harness.zoo"},
    "harness.prompts": {"harness.errors", "harness.whole"},
    "harness.measure": {
        "harness.convert",
        "harness.export",
        "harness.feed",
        "harness.metrics",
        "harness.runtime",
        "harness.shapes",
    },
    "harness.compress": {"harness.convert", "harness.errors"},
    "harness.feed": {"harness.runtime", "harness.shapes"},
    "harness.zoo": {"harness.errors", "harness.formula", "harness.toml_struct"},
    "harness.cache": {"harness.environment", "harness.errors"},
    "harness.fleet": {"harness.environment", "harness.errors", "harness.isolation", "harness.store"},
    "harness.facts": {"harness.store"},
    "harness.isolation": {"harness.errors", "harness.quiet"},
    "harness.steps": {"harness.isolation"},
    "harness.metrics": set(),
    "harness.plan": {
        "harness.checkpoint",
        "harness.environment",
        "harness.shapes",
        "harness.store",
        "harness.variants",
        "harness.zoo",
    },
    "harness.jobs": {"harness.isolation", "harness.plan", "harness.run", "harness.store", "harness.zoo"},
    "harness.runtime": {"harness.convert", "harness.errors", "harness.interpreter", "harness.store"},
    "harness.latency": {"harness.collector"},
    "harness.condition": {"harness.command", "harness.store"},
    "harness.torch_ops": {"harness.errors"},
}
"""What each layer may import of the project, beside itself. A layer that is not here, the command line and the main
job among them, may import anything below."""

TOP = ("harness.cli", "harness.__main__")


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path) -> set[str]:
    """Return the project's modules that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] in ("ane_rms", "harness", "torch", "transformers")}


FILES = sorted([*(ROOT / "ane_rms").rglob("*.py"), *(ROOT / "harness").rglob("*.py")])


def within(name: str, layer: str) -> bool:
    return name == layer or name.startswith(f"{layer}.")


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_no_import_points_upward(path):
    name = module_name(path)
    layer = next((layer for layer in ALLOWED if within(name, layer)), None)
    for imported in imports(path):
        if imported.split(".")[0] in ("torch", "transformers"):
            assert not within(name, "ane_rms"), f"{name} imports {imported}: ane_rms stands on coremltools and numpy"
            continue
        if not any(within(name, top) for top in TOP):
            assert not any(within(imported, top) for top in TOP), f"{name} imports {imported}"
        if layer is not None and not within(imported, layer):
            assert any(within(imported, one) for one in ALLOWED[layer]), f"{name} imports {imported}"


def test_ane_rms_imports_without_torch_and_without_the_harness():
    import subprocess
    import sys

    code = (
        "import sys; sys.modules['torch'] = None; sys.modules['transformers'] = None; import ane_rms; "
        "sys.exit(any(name.split('.')[0] == 'harness' for name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


COMMANDS = sorted((ROOT / "harness" / "cli").glob("*.py"))


@pytest.mark.parametrize("path", [path for path in COMMANDS if path.stem != "output"], ids=lambda path: path.stem)
def test_commands_print_through_the_one_function_that_escapes(path):
    assert "typer.echo" not in path.read_text(encoding="utf-8"), "use harness.cli.output.say"
