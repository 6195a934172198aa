"""A program as text that a person reads, one line an op."""

from __future__ import annotations

from typing import Any

import coremltools as ct
import numpy as np
from coremltools.converters.mil.mil import Builder as mb
from coremltools.converters.mil.mil.passes.graph_pass import PassOption
from coremltools.converters.mil.mil.passes.pass_registry import PASS_REGISTRY

from ane_rms import mil
from ane_rms.passes.lower import lower_ane_rms_norm_to_layer_norm
from tests.mil_tools import NE

LOWER = f"common::{lower_ane_rms_norm_to_layer_norm.__name__}"


def lowered_text(lowering: str) -> str:
    """Return what one norm of width 4, with gamma and epsilon 0.25, is lowered to."""

    @mb.program(input_specs=[mb.TensorSpec(shape=(2, 4))], opset_version=ct.target.iOS17)
    def program(x):
        return mb.ane_rms_norm(x=x, gamma=np.array([1, 2, 3, 4], np.float32), epsilon=np.float32(0.25), name="y")

    lower = PASS_REGISTRY[LOWER]
    lower.set_options([PassOption("compute_units", NE), PassOption("lowering", lowering)])
    lower(program)
    return as_text(program)


def as_text(program: Any) -> str:
    """Return the ops of the main function that are no constants, with their inputs that are not left to default."""
    ops = [op for op in program["main"].operations if op.op_type != "const"]
    return "\n".join(f"{op.outputs[0].name} {shape(op)} = {op.op_type}({inputs(op)})" for op in ops)


def shape(op: Any) -> str:
    return "x".join(map(str, mil.shape(op.outputs[0])))


def inputs(op: Any) -> str:
    return ", ".join(f"{name}={value(given)}" for name, given in op.inputs.items())


def value(given: Any) -> str:
    """Return a variable's name, or a constant's numbers, the first of many."""
    if isinstance(given, (list, tuple)):
        return f"[{', '.join(map(value, given))}]"
    known = mil.const_value(given)
    if known is None:
        return str(given.name)
    numbers = [f"{one:.6g}" if known.dtype.kind == "f" else str(one) for one in known.reshape(-1)[:8]]
    more = [f"... {known.size}"] if known.size > len(numbers) else []
    return numbers[0] if known.ndim == 0 else f"[{' '.join([*numbers, *more])}]"
