"""Norms counted without the grammar: roots over sums of squares by walking back from each, doubled rows by values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ane_rms import mil
from harness.interpreter import ReferenceModel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ane_rms.scan import Scan

BETWEEN = {
    *("add", "sub", "mul", "real_div", "maximum", "minimum", "clip", "inverse", "relu", "linear_activation"),
    *("cast", "reshape", "expand_dims", "squeeze", "tile", "identity", "transpose", "slice_by_index", "gather"),
}
"""Ops through which a mean of squares is still one."""


def roots_over_squares(program: Any) -> Iterator[Any]:
    """Yield every op that takes the root of a mean or sum of squares, but for that of a LayerNorm's variance."""
    for block in mil.blocks(program):
        for op in block.operations:
            if op.op_type == "reduce_l2_norm":
                if not is_centred(op.x, op):
                    yield op
            elif op.op_type == "l2_norm":
                yield op
            elif (below := under_root(op)) is not None:
                sums = list(sums_below(below))
                if sums and not all(is_centred(squared, total) for total, squared in sums):
                    yield op


def under_root(op: Any) -> Any:
    """Return the value that ``op`` takes the root of, or raises to another power that is no whole number."""
    if op.op_type in ("sqrt", "rsqrt"):
        return op.x
    if op.op_type == "pow":
        return op.x if op.y.val is not None and (np.asarray(op.y.val) % 1 != 0).any() else None
    if op.op_type not in ("exp", "exp2"):
        return None
    value = op.x
    while value.op is not None and value.op.op_type in ("mul", "real_div", "cast"):
        value = value.op.x if value.op.x.val is None else value.op.y
    return value.op.x if value.op is not None and value.op.op_type == "log" else None


def uncovered_roots(program: Any, found: Scan) -> list[str]:
    """Return the names of roots over squares that are part of no norm and no miss, found without the grammar."""
    missed = {miss.name for miss in found.report().missed}
    taken = {id(op) for norm in (*found.norms, *found.lowered) for op in norm.roots}
    return [
        op.outputs[0].name
        for op in roots_over_squares(program)
        if id(op) not in taken and op.outputs[0].name not in missed
    ]


def doubled_rows(model: Any, inputs: dict[str, Any]) -> list[str]:
    """Return the names of ops that take the mean of rows which hold the negative of each element, for these inputs."""
    reference, found = ReferenceModel(model, precision="fp32"), list[str]()

    def note(op: Any, given: Any, results: Any) -> None:
        if op.op_type not in ("layer_norm", "instance_norm", "reduce_mean"):
            return
        x = given["x"].double().numpy()
        axes = range(2, x.ndim) if op.op_type == "instance_norm" else np.atleast_1d(given["axes"])
        kept = [axis for axis in range(x.ndim) if axis not in {int(axis) % x.ndim for axis in axes}]
        rows = np.sort(
            x.transpose(*kept, *(axis for axis in range(x.ndim) if axis not in kept)).reshape(
                int(np.prod([x.shape[axis] for axis in kept])), -1
            )
        )
        if rows.any() and np.allclose(rows, -rows[:, ::-1], rtol=1e-5, atol=1e-6):
            found.extend(results)

    with reference.listening(note):
        reference.predict(inputs)
    return found


def squares(op: Any) -> bool:
    if op.op_type == "pow":
        return op.y.val is not None and float(op.y.val) == 2
    return op.op_type == "square" or (op.op_type == "mul" and op.x is op.y)


def sums_below(var: Any) -> Iterator[tuple[Any, Any]]:
    """Yield (sum, what is squared) for each sum of squares that ``var`` is made of."""
    op = var.op
    if op is None:
        return
    if op.op_type == "reduce_sum_square":
        yield op, op.x
    elif op.op_type in ("reduce_mean", "reduce_sum", "cumsum"):
        square = op.x.op
        if square is None or square.outputs[0].val is not None:
            return
        if squares(square):
            yield op, square.x
    elif op.op_type in BETWEEN and mil.is_float(op.outputs[0]):
        for given in op.inputs.values():
            if not isinstance(given, (list, tuple)) and given.val is None and mil.is_float(given):
                yield from sums_below(given)


def is_centred(var: Any, total: Any) -> bool:
    """Return whether ``var`` is a value less its mean over the axes of ``total``."""
    op = var.op.x.op if var.op is not None and var.op.op_type == "abs" else var.op
    if op is None or op.op_type != "sub" or op.y.op is None or op.y.op.op_type != "reduce_mean":
        return False
    return op.y.op.x is op.x and sorted(i % var.rank for i in op.y.op.axes.val) == sorted(
        i % var.rank for i in total.axes.val
    )
