"""Virtual environments with given versions of packages, made for a bisection and removed after it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import OutputError
from harness.system import limited_read
from harness.system.text import squeezed

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from collections.abc import Iterator

Pins = tuple[tuple[str, str], ...]
LIMIT_BYTES = 1_000_000
EXTRAS = ("harness", "gguf")
"""Extras of the project that a run may need."""


class Environments:
    """Environments by their pins. Only the last one is kept, since each may take gigabytes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: tuple[Pins, Path] | None = None

    def python(self, pins: Pins, tree: Path) -> Path:
        """Return the interpreter of an environment with these versions and the requirements of a work tree.

        Without pins it is the interpreter that runs.

        Raises
        ------
        OutputError: if the environment cannot be made; the message is the last line of pip.
        """
        if not pins:
            return Path(sys.executable)
        if self._made is None or self._made[0] != pins:
            self._made = None
            self._made = (pins, self._make(pins, tree))
        return self._made[1]

    def _make(self, pins: Pins, tree: Path) -> Path:
        folder = self._folder / "environment"
        _checked([sys.executable, "-m", "venv", "--clear", "--without-pip", str(folder)])
        python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
        wanted = [f"{name}=={version}" for name, version in pins]
        pip = [sys.executable, "-m", "pip", "--python", str(python), "--quiet"]
        _checked([*pip, "install", "--no-warn-script-location", *wanted, *requirements(tree)])
        return python


@contextmanager
def environments() -> Iterator[Environments]:
    """Give environments in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="ane-harness-bisect-") as folder:
        yield Environments(Path(folder))


def requirements(tree: Path) -> list[str]:
    """Return what a work tree's pyproject.toml requires, for the project and its extras of :data:`EXTRAS`.

    Raises
    ------
    OutputError: if the file cannot be read.
    """
    path = tree / "pyproject.toml"
    try:
        project: dict[str, Any] = tomllib.loads(limited_read.read(path, LIMIT_BYTES).decode()).get("project", {})
    except (OSError, ValueError) as error:
        raise OutputError(f"{path.name}: cannot be read, so no environment can be made for it: {error}") from None
    extras = project.get("optional-dependencies", {})
    own = re.compile(rf"{re.escape(str(project.get('name', '')))}\[")
    found = [*project.get("dependencies", []), *(one for name in EXTRAS for one in extras.get(name, []))]
    return [one for one in found if not own.match(one)]


def releases(name: str, old: str, new: str) -> list[str]:
    """Return the versions of a package from one to another, both included, as pip's index lists them.

    If the index does not know both, or the versions go down, only these two are returned.
    """
    done = subprocess.run(
        [sys.executable, "-m", "pip", "index", "versions", name], capture_output=True, text=True, check=False
    )
    found = re.search(r"Available versions: (.*)", done.stdout)
    known = [one.strip().partition("+")[0] for one in found[1].split(",")][::-1] if found else []
    if old in known and new in known and known.index(old) < known.index(new):
        return known[known.index(old) : known.index(new) + 1]
    return [old, new]


def _checked(words: list[str]) -> None:
    """Run a command; the pins alone constrain what pip installs.

    Raises
    ------
    OutputError: if it fails, with the last line that it said.
    """
    free = {**os.environ, "PIP_CONSTRAINT": "", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=free)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or [f"exit code {done.returncode}"]
        raise OutputError(f"the environment cannot be made: {squeezed(lines[-1])[:300]}")
