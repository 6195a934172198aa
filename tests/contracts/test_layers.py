"""The direction of dependencies, read from the imports: an upward edge, or a module without a rule, fails."""

from __future__ import annotations

import ast
from collections import Counter
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

ROOMS = {
    "system": {"ane_rms"},
    "errors": {"system"},
    "records": {"errors", "system"},
    "zoo": {"errors", "system"},
    "interpreter": {"errors", "system"},
    "engine": {"errors", "interpreter", "records"},
    "plan": {"errors", "interpreter", "records", "system", "zoo"},
    "export": {"errors", "plan", "system", "zoo"},
    "workers": {"errors", "records", "system"},
    "convert": {"ane_rms", "errors", "export", "plan", "records", "system"},
    "runtime": {"convert", "errors", "interpreter", "records", "system", "zoo"},
    "measure": {
        "ane_rms",
        "convert",
        "engine",
        "errors",
        "export",
        "interpreter",
        "plan",
        "records",
        "runtime",
        "system",
        "zoo",
    },
    "judge": {"errors", "measure", "records", "system"},
    "report": {"ane_rms", "engine", "errors", "interpreter", "judge", "measure", "records", "runtime", "system"},
    "explain": {
        "ane_rms",
        "convert",
        "engine",
        "errors",
        "export",
        "interpreter",
        "measure",
        "plan",
        "records",
        "system",
        "zoo",
    },
    "run": {"ane_rms", "convert", "errors", "export", "measure", "plan", "records", "system", "workers", "zoo"},
    "bench": {
        "ane_rms",
        "convert",
        "engine",
        "errors",
        "explain",
        "interpreter",
        "measure",
        "plan",
        "records",
        "run",
        "runtime",
        "system",
        "workers",
        "zoo",
    },
    "pytest_plugin": {
        "ane_rms",
        "convert",
        "errors",
        "export",
        "interpreter",
        "measure",
        "plan",
        "records",
        "runtime",
        "system",
        "zoo",
    },
    "cli": {
        "ane_rms",
        "bench",
        "convert",
        "engine",
        "errors",
        "explain",
        "interpreter",
        "judge",
        "measure",
        "plan",
        "records",
        "report",
        "run",
        "runtime",
        "system",
        "workers",
        "zoo",
    },
    "__main__": {"cli"},
}
"""What each room of the harness may import of the project, beside itself. Each stands below those that name it."""

ANE_RMS = {
    "mil": set(),
    "attempt": set(),
    "undoing": set(),
    "mapped_arrays": {"undoing"},
    "registry": set(),
    "op": {"mil"},
    "replacing": {"attempt", "mil"},
    "text_table": set(),
    "rescaled": set(),
    "report": {"mil", "rescaled", "text_table"},
    "symbols": {"report"},
    "neural_engine": set(),
    "guards": {"mil", "neural_engine", "report"},
    "grammar": {"mil"},
    "scan": {"attempt", "grammar", "mil", "report"},
    "rescaling": {"grammar", "mapped_arrays", "mil", "rescaled", "replacing", "report"},
    "passes": {
        "attempt",
        "grammar",
        "guards",
        "mil",
        "neural_engine",
        "op",
        "registry",
        "replacing",
        "report",
        "rescaled",
        "rescaling",
        "scan",
    },
    "find": {"mil", "passes", "report", "scan"},
    "package": {"attempt", "coremltools_patches", "grammar", "mapped_arrays", "mil", "passes", "report", "scan"},
    "reading": {"package", "passes", "report", "scan"},
    "rewrite_package": {
        "grammar",
        "guards",
        "mapped_arrays",
        "mil",
        "package",
        "passes",
        "reading",
        "report",
        "scan",
        "symbols",
    },
    "idle": {"mil", "report", "scan"},
    "coremltools_patches": {"mapped_arrays", "mil", "op", "undoing"},
    "pipeline": {"coremltools_patches", "passes"},
    "tracing": set(),
    "several_functions": {"undoing"},
    "conversion": {
        "coremltools_patches",
        "idle",
        "pipeline",
        "report",
        "several_functions",
        "symbols",
        "tracing",
        "undoing",
    },
    "installation": {"conversion", "coremltools_patches", "undoing"},
    "__init__": {
        "conversion",
        "find",
        "installation",
        "op",
        "passes",
        "pipeline",
        "reading",
        "report",
        "rescaled",
        "rescaling",
        "rewrite_package",
    },
}
"""The same for the modules and inner rooms of ane_rms."""


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


def room(name: str) -> tuple[str, str]:
    """Return the package of a module, and the room or single module of that package that it belongs to."""
    package, _, rest = name.partition(".")
    return package, rest.partition(".")[0] or "__init__"


def rule(name: str) -> set[str]:
    package, one = room(name)
    return (ROOMS | {"__init__": set()} if package == "harness" else ANE_RMS)[one]


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_no_import_points_upward(path):
    name = module_name(path)
    allowed = rule(name)  # a module without a rule is an error
    for imported in imports(path):
        package, one = room(imported)
        if package in ("torch", "transformers"):
            assert room(name)[0] == "harness", f"{name} imports {imported}: ane_rms stands on coremltools and numpy"
        elif package != room(name)[0]:
            assert package in allowed, f"{name} imports {imported}"
        elif (
            one != "__init__"
            and one != room(name)[1]
            and (ROOT / package / one).with_suffix("").exists() | (ROOT / package / f"{one}.py").exists()
        ):
            assert one in allowed, f"{name} imports {imported}"


def test_the_rules_have_no_cycle():
    for rules in (ROOMS, ANE_RMS):
        TopologicalSorter({one: allowed - {"ane_rms"} for one, allowed in rules.items()}).prepare()


def test_the_harness_holds_rooms_and_four_modules():
    modules = {path.stem for path in (ROOT / "harness").glob("*.py")}
    assert modules == {"__init__", "__main__", "errors", "pytest_plugin"}


@pytest.mark.parametrize("package", ["harness", "ane_rms"])
def test_no_module_name_occurs_twice(package):
    names = Counter(
        path.stem for path in (ROOT / package).rglob("*.py") if path.stem != "__init__" and path.parent.name != "ops"
    )
    assert [name for name, count in names.items() if count > 1] == []


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
