"""State a pass's contract, and check it on demand: its requirements, its guarantees, and whether it modified anything.

Each check costs a walk over the program. Checks run if the environment variable :data:`VARIABLE` is set, as in the
project's tests and in the command line with ``-v``.

The design follows onnx/ir-py, ``onnx_ir/passes/_pass_infra.py``.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from coremltools.converters.mil.mil.passes.graph_pass import AbstractGraphPass

from ane_rms import mil

if TYPE_CHECKING:
    from collections.abc import Hashable

VARIABLE = "ANE_RMS_CHECK_PASSES"
"""The environment variable that turns on the checks of contracts if it is neither empty nor ``0``."""


class ContractError(AssertionError):
    """A pass received a program that violates its requirements, or left one that violates its guarantees."""


def are_checked() -> bool:
    """Return whether contracts are checked."""
    return os.environ.get(VARIABLE, "") not in ("", "0")


class ContractPass(AbstractGraphPass):
    """A pass that states its requirements and guarantees; :meth:`rewrite` does the work."""

    def apply(self, prog: mil.Program) -> None:
        """Rewrite in place, and check the contract before and after if checks are turned on."""
        if not are_checked():
            self.rewrite(prog)
            return
        self._hold("requires", self.requires(prog))
        kept, before, outputs = _all_ops(prog), _structure(prog), _outputs(prog)
        modified = self.rewrite(prog)
        self._hold("ensures", self.ensures(prog))
        self._hold("ensures", "" if _outputs(prog) == outputs else "the program's outputs are not as they were")
        if modified != (_structure(prog) != before):
            said = "it modified the program" if modified else "it modified nothing"
            self._hold("ensures", f"it says that {said}, which is not so")
        del kept  # alive until here, so that no new op has the id of one that was removed

    def rewrite(self, prog: mil.Program) -> bool:
        """Rewrite in place and return whether anything was modified."""
        raise NotImplementedError

    def requires(self, prog: mil.Program) -> str:  # noqa: ARG002 - for passes with requirements
        """Return a sentence on a requirement that the program does not meet, or ``""``."""
        return ""

    def ensures(self, prog: mil.Program) -> str:  # noqa: ARG002 - for passes with guarantees
        """Return a sentence on a guarantee that the pass has not kept, or ``""``."""
        return ""

    def _hold(self, clause: str, broken: str) -> None:
        if broken:
            raise ContractError(f"{type(self).__name__} {clause}: {broken}")


def standing(program: mil.Program) -> list[mil.Op]:
    """Return every ``ane_rms_norm`` of a program."""
    return [op for op in _all_ops(program) if op.op_type == "ane_rms_norm"]


def none_stands(program: mil.Program) -> str:
    """Return a sentence about an ``ane_rms_norm`` that is left, or ``""``."""
    left = standing(program)
    return f"{len(left)} ane_rms_norm stand, {left[0].name} among them" if left else ""


def _all_ops(program: mil.Program) -> list[mil.Op]:
    return [op for block in mil.blocks(program) for op in block.operations]


def _structure(program: mil.Program) -> list[Hashable]:
    """Return each op with its inputs, as objects; equal as long as nothing is added, removed or reconnected."""
    return [
        *((id(op), tuple(id(var) for var in op.get_flattened_inputs())) for op in _all_ops(program)),
        *(tuple(id(var) for var in block.outputs) for block in mil.blocks(program)),
    ]


def _outputs(program: mil.Program) -> list[tuple[Any, ...]]:
    """Return the name, type and shape of every output of every function."""
    return [
        (name, var.name, mil.dtype(var), mil.shape(var))
        for name, function in program.functions.items()
        for var in function.outputs
    ]
