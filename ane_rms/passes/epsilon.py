"""``common::restore_rms_norm_epsilon``: restore the epsilon that coremltools' float16 cast has rounded.

float16 rounds 1e-6 to 1.0133e-6. In rows whose mean square is near epsilon the result is then off by 0.3 %, ten times
float16's own rounding. From iOS 17 a layer norm's epsilon may be float32 beside a float16 input, and coremltools itself
keeps the epsilon of ``rsqrt``, ``inverse`` and ``log`` in float32. An epsilon below float16's smallest number keeps
coremltools' value, 2**-24, because a device that computes in float16 would read 0 and divide zero rows by it.

The original epsilon is the float32 constant that the cast reads. A layer norm built by this project is recognised by
its scope, which names the pass that built it and which coremltools copies whenever it rebuilds an op. A user's own
layer norm is left unchanged, whatever its name.

Requires: it runs right after ``common::add_fp16_cast``. Ensures: only the type and value of epsilon have changed, and
the type of gamma, which must be the same.
"""

from __future__ import annotations

import math

import numpy as np
from coremltools.converters.mil._deployment_compatibility import AvailableTarget
from coremltools.converters.mil.mil.passes.pass_registry import register_pass

from ane_rms import mil
from ane_rms.grammar import SMALLEST_FP16
from ane_rms.passes.contract import ContractPass
from ane_rms.passes.lower import lower_ane_rms_norm_to_layer_norm
from ane_rms.replacing import constant, remove_unused, visit_each

SAME = 1e-5
"""A relative difference of epsilon that is invisible in any float16 result."""


@register_pass(namespace="common")
class restore_rms_norm_epsilon(ContractPass):
    """Restore the epsilon that lowered norms had before the float16 cast, from iOS 17 on."""

    def rewrite(self, prog: mil.Program) -> bool:
        """Restore in place."""
        rounded = _rounded(prog)
        replaced = [var.op for op in rounded for var in (op.epsilon, op.gamma) if var is not None]
        visit_each(rounded, _restore)
        remove_unused(replaced)
        return bool(rounded)

    def ensures(self, prog: mil.Program) -> str:
        """Return a sentence on an epsilon that is not the written one, or ``""``."""
        left = _rounded(prog)
        return f"{left[0].name} has an epsilon that the cast has rounded" if left else ""


def _rounded(program: mil.Program) -> list[mil.Op]:
    return [op for block in mil.blocks(program) for op in block.operations if _is_rounded(op)]


def _is_rounded(op: mil.Op) -> bool:
    if op.op_type != "layer_norm" or lower_ane_rms_norm_to_layer_norm.__name__ not in mil.pass_names(op):
        return False
    version = mil.opset_version(op)
    if version is None or version < AvailableTarget.iOS17:
        return False
    written = _written(op)
    return written >= SMALLEST_FP16 and not math.isclose(float(op.epsilon.val), written, rel_tol=SAME)


def _written(op: mil.Op) -> float:
    """Return epsilon before the cast; the current epsilon if there is no cast."""
    cast = mil.producer(op.epsilon, "cast")
    return float((op.epsilon if cast is None else cast.x).val)


def _restore(op: mil.Op) -> None:
    """Replace the epsilon of the op, with gamma in the same type."""
    gamma = {} if op.gamma is None else {"gamma": constant(np.asarray(op.gamma.val, dtype=np.float32))}
    given = {"epsilon": constant(np.float32(_written(op))), **gamma}
    for value in given.values():
        value.scopes = op.outputs[0].scopes
    op.set_inputs(no_check_var_types=True, **given)
