"""What ``MODEL|PACKAGE`` means on a command line: the path of a package, or the key of a zoo model."""

from __future__ import annotations

from pathlib import Path

from harness.interpreter.package import exists


def package_path(target: str) -> Path | None:
    """Return the path of the package that is meant; None where a zoo model is: what is no path is a key."""
    path = Path(target)
    return path if path.suffix == ".mlpackage" or exists(path) else None
