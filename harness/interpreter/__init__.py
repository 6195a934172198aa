"""The reference executor: Core ML's semantics for ML programs, on any machine.

``ReferenceModel`` runs an ``.mlpackage``, an ``MLModel`` or a live coremltools program under a numeric
policy (``precision``), op by op, and lets listeners look at every value. ``core`` is the loop, ``ops`` holds
one function an op, ``from_mil`` and ``from_proto`` load programs into the IR of ``program``.

Names are imported on first use: code that only needs the policies' names does not wait for coremltools.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.interpreter.precision import POLICIES, Precision, resolve_precision
    from harness.interpreter.program import Program
    from harness.interpreter.reference_model import ReferenceModel
    from harness.interpreter.state import State

__all__ = ["POLICIES", "Precision", "Program", "ReferenceModel", "State", "resolve_precision"]

_MODULES = {
    "ReferenceModel": "reference_model",
    "POLICIES": "precision",
    "Precision": "precision",
    "resolve_precision": "precision",
    "Program": "program",
    "State": "state",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
