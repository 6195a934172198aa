"""The machine and the package versions that a record carries so that records can be compared."""

from __future__ import annotations

import os
import platform
import re
from functools import cache
from importlib import metadata
from pathlib import Path

from harness.records.machine import Environment
from harness.system.command import output
from harness.system.light_registry import ane_rms_folder

PACKAGES = ("ane-rms", "coremltools", "torch", "transformers", "numpy")


@cache
def environment() -> Environment:
    """Return this machine's environment, read once per process."""
    commit, clean = _git()
    return Environment(
        os=_os(),
        machine=platform.machine(),
        chip=_chip(),
        cores=os.cpu_count() or 0,
        memory_bytes=_memory_bytes(),
        versions={"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        git_commit=commit,
        git_clean=clean,
    )


def version(package: str) -> str:
    """Return an installed package's version, or ``""``."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def project_version() -> str:
    """Return the version of this project; for a checkout that is not installed, the one its source states."""
    source = (ane_rms_folder() / "__init__.py").read_text(encoding="utf-8")
    stated = re.search(r'^__version__ = "([^"]+)"$', source, re.MULTILINE)
    return version("ane-rms") or (stated[1] if stated else "unknown")


def _os() -> str:
    if platform.system() == "Darwin":  # pragma: macOS
        build = _line("sw_vers", "-buildVersion")
        return f"macOS {platform.mac_ver()[0]} ({build})"
    return f"{platform.system()} {platform.release()}"


def _chip() -> str:
    if platform.system() == "Darwin":  # pragma: macOS
        return _line("sysctl", "-n", "machdep.cpu.brand_string")
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _git() -> tuple[str, bool | None]:
    folder = Path(__file__).parents[2]
    if not (folder / ".git").exists():
        return "", None
    commit = _line("git", "-C", str(folder), "rev-parse", "HEAD")
    changes = output("git", "-C", str(folder), "status", "--porcelain")
    return commit, None if changes is None else not changes


def _line(*words: str) -> str:
    return (output(*words) or "").strip()
