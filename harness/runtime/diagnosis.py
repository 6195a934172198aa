"""Diagnose this machine: packages, versions, the Core ML runtime, the Neural Engine."""

from __future__ import annotations

import importlib.util
import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.errors import HarnessError, RuntimeUnavailableError
from harness.records.environment import environment, version
from harness.system.text import plural

if TYPE_CHECKING:
    from collections.abc import Iterator

TESTED = {"coremltools": "9.0", "torch": "2.13.0", "transformers": "5.23.0"}
"""The versions that the project is tested with; constraints.txt pins the same ones."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One fact. ``state`` is ok, note (works with a reservation), absent (optional) or missing (required)."""

    subject: str
    state: str
    detail: str


def diagnose() -> list[Finding]:
    """Return the findings about this machine, the required parts first."""
    return [_machine(), *_packages(), _zoo(), _runtime(), neural_engine()]


def _machine() -> Finding:
    found = environment()
    detail = f"{found.os}, {found.machine}, {found.chip}, {found.cores} cores, {found.memory_bytes / 2**30:.0f} GiB"
    return Finding("machine", "ok", f"{detail}, Python {platform.python_version()}")


def _packages() -> Iterator[Finding]:
    for name, tested in TESTED.items():
        found = version(name).partition("+")[0]
        if not found:
            yield Finding(name, "missing", f"not installed: pip install {name}=={tested}")
        elif found != tested:
            yield Finding(name, "note", f"{found}; tested with {tested}")
        else:
            yield Finding(name, "ok", found)
    numpy = version("numpy")
    if numpy and tuple(map(int, numpy.split(".")[:2])) >= (2, 4):
        yield Finding("numpy", "missing", f"{numpy} breaks tracing in coremltools 9.0: pip install 'numpy<2.4'")
    else:
        yield Finding("numpy", "ok" if numpy else "missing", numpy or "not installed: pip install 'numpy<2.4'")


def _zoo() -> Finding:
    from harness.zoo import catalog

    try:
        models = catalog.load_zoo()
    except HarnessError as error:
        return Finding("zoo", "missing", str(error))
    quick = sum(spec.tier == "quick" for spec in models.values())
    return Finding("zoo", "ok", f"{plural(len(models), 'model')}, {quick} in tier quick")


def _runtime() -> Finding:
    if platform.system() != "Darwin":
        return Finding("Core ML", "absent", "needs macOS; models are executed by the reference executor instead")
    if importlib.util.find_spec("coremltools.libcoremlpython") is None:  # pragma: macOS
        return Finding("Core ML", "absent", "coremltools has no runtime here: install its macOS wheel")
    return Finding("Core ML", "ok", "runtime found")  # pragma: macOS


def require_neural_engine() -> None:
    """Raise unless Core ML has access to a Neural Engine here.

    Raises
    ------
    RuntimeUnavailableError: giving the reason.
    """
    for finding in (_runtime(), neural_engine()):
        if finding.state != "ok":
            raise RuntimeUnavailableError(f"{finding.subject}: {finding.detail} (REQUIRE_ANE=1 asks for it)")


def neural_engine() -> Finding:
    """Return whether Core ML has access to a Neural Engine from this process; if not, why not."""
    if platform.system() != "Darwin":
        return Finding("Neural Engine", "absent", "needs a Mac with Apple silicon")
    if platform.machine() != "arm64":  # pragma: macOS
        return Finding("Neural Engine", "absent", "Python runs as x86-64 (Rosetta?): use a native arm64 Python")
    from harness.runtime import coreml  # pragma: macOS

    devices = coreml.devices()  # pragma: macOS
    if "ane" not in devices:  # pragma: macOS
        return Finding("Neural Engine", "absent", f"not among Core ML's devices here: {', '.join(devices)}")
    return Finding("Neural Engine", "ok", "found")  # pragma: macOS
