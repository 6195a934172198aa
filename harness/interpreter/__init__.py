"""The reference executor: Core ML's semantics for ML programs, on any machine.

``ReferenceModel`` runs an ``.mlpackage``, an ``MLModel`` or a live coremltools program under a numeric
policy (``precision``), op by op, and lets listeners look at every value. ``core`` is the loop, ``ops`` holds
one function an op, ``from_mil`` and ``from_proto`` load programs into the IR of ``program``.
"""

from harness.interpreter.model import ReferenceModel
from harness.interpreter.precision import POLICIES, Precision, resolve_precision
from harness.interpreter.program import Program
from harness.interpreter.state import State

__all__ = ["POLICIES", "Precision", "Program", "ReferenceModel", "State", "resolve_precision"]
