"""``common::restore_rms_norm_epsilon``: keep the epsilon that coremltools' float16 cast has rounded.

float16 makes 1e-6 into 1.0133e-6: in rows whose mean square is near epsilon the result is then off by 0.3 %, ten times
float16's own rounding. From iOS 17 a layer norm's epsilon may be float32 beside a float16 input, and coremltools itself
keeps that of ``rsqrt``, ``inverse`` and ``log`` so. An epsilon below float16's smallest number stays what coremltools
makes of it, 2**-24: a device that computes in float16 would read 0, and divide zero rows by it.

Precondition: stands right after ``common::add_fp16_cast``. Postcondition: only the type and value of epsilon have
changed, and the type of gamma, which must be the same.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from coremltools.converters.mil._deployment_compatibility import AvailableTarget
from coremltools.converters.mil.mil.passes.graph_pass import AbstractGraphPass
from coremltools.converters.mil.mil.passes.pass_registry import register_pass

from ane_rms import mil
from ane_rms.grammar import SMALLEST_FP16
from ane_rms.replacing import constant, remove_unused, visit_each

FP16_SUFFIX = "_cast_fp16"
"""What coremltools appends to the name of an op it casts."""

SAME = 1e-5
"""A relative difference of epsilon that no float16 result shows."""


@register_pass(namespace="common")
class restore_rms_norm_epsilon(AbstractGraphPass):
    """Give lowered norms back the epsilon they had before the float16 cast, from iOS 17 on.

    Options
    -------
    epsilons: epsilon by name of the layer norm, as the lowering notes it down.
    """

    epsilons: Any = None

    def apply(self, prog: mil.Program) -> None:
        """Restore in place."""
        found = {
            id(op): (op, self.epsilons[name])
            for block in mil.blocks(prog)
            for op in block.operations
            if op.op_type == "layer_norm" and (name := op.name.removesuffix(FP16_SUFFIX)) in (self.epsilons or {})
        }
        rounded = [op for op, epsilon in found.values() if _is_rounded(op, epsilon)]
        replaced = [var.op for op in rounded for var in (op.epsilon, op.gamma) if var is not None]
        visit_each(rounded, lambda op: _restore(op, found[id(op)][1]))
        remove_unused(replaced)


def _is_rounded(op: mil.Op, epsilon: float) -> bool:
    version = mil.opset_version(op)
    if version is None or version < AvailableTarget.iOS17 or epsilon < SMALLEST_FP16:
        return False
    return not math.isclose(float(op.epsilon.val), epsilon, rel_tol=SAME)


def _restore(op: mil.Op, epsilon: float) -> None:
    """Give the op another epsilon in its place, and gamma in the same type."""
    gamma = {} if op.gamma is None else {"gamma": constant(np.asarray(op.gamma.val, dtype=np.float32))}
    given = {"epsilon": constant(np.float32(epsilon)), **gamma}
    for value in given.values():
        value.scopes = op.outputs[0].scopes
    op.set_inputs(no_check_var_types=True, **given)
