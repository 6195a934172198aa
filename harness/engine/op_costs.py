"""The cost of an op on a family: ``max(work / peak, bytes / bandwidth)`` for products, seconds an element for the rest.

The form and the constants are G 18's: fitted on five convolutions of an M1 and re-fitted on an M5. Over 68 graphs its
authors found a median error of 31 %, bandwidth-bound shapes over-predicted by several times, and no form for attention.
Element-wise ops, norms and reductions are F's, measured on one part of the M5's class; for other families they are
scaled by the ratio of the bandwidths, which is a guess. Reshapes cost nothing: they edit a descriptor.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import torch

from harness.engine.op_support import items
from harness.interpreter.program import Constant, Ref

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.engine.families import EngineData, Family
    from harness.interpreter.program import Op, ValueType

FREE = ("reshape", "reshape_like", "expand_dims", "squeeze", "flatten2d", "identity", "cast")
"""Ops that only edit a descriptor, or that a neighbouring op absorbs."""

BYTES = 2
"""Bytes of a float16 number; a weight that does not stream compressed is expanded to it."""


def elements(kind: ValueType) -> int:
    """Return the number of elements of a type, unknown dimensions counted as 1."""
    return prod(n or 1 for n in kind.shape or ())


def operand_bytes(op: Op, types: Mapping[str, ValueType], weights: Mapping[str, int]) -> list[int]:
    """Return the bytes of each value that an op reads or writes, as the engine holds it.

    Parameters
    ----------
    op: the op.
    types: declared type by value name.
    weights: bytes by name of a compressed weight, as it streams.
    """
    sizes = []
    for argument in op.inputs.values():
        for item in items(argument):
            if isinstance(item, Ref):
                sizes.append(weights.get(item.name, BYTES * elements(types[item.name]) if item.name in types else 0))
            elif isinstance(item, Constant) and isinstance(item.value, torch.Tensor):
                sizes.append(BYTES * item.value.numel() if item.value.is_floating_point() else 0)
    return [*sizes, *(BYTES * elements(value.type) for value in op.outputs)]


def flops(op: Op, types: Mapping[str, ValueType]) -> int | None:
    """Return the floating-point operations of a product; None for another op."""
    out = prod(n or 1 for n in op.outputs[0].type.shape or ())
    if op.op_type in ("linear", "conv"):
        weight = _sizes(op, "weight", types)
        return 2 * out * prod(weight[1:]) if weight else None
    if op.op_type == "conv_transpose":
        weight, given = _sizes(op, "weight", types), _sizes(op, "x", types)
        return 2 * prod(given) * prod(weight[1:]) if weight and given else None
    if op.op_type == "matmul":
        given = _sizes(op, "x", types)
        turned = op.inputs.get("transpose_x")
        across = isinstance(turned, Constant) and isinstance(turned.value, torch.Tensor) and bool(turned.value)
        return 2 * out * given[-2 if across and len(given) > 1 else -1] if given else None
    if op.op_type == "einsum":
        first = items(op.inputs["values"])[0]
        shape = types[first.name].shape if isinstance(first, Ref) and first.name in types else first_shape(first)
        return 2 * out * (shape[-1] or 1) if shape else None
    return None


def first_shape(item: Ref | Constant) -> tuple[int | None, ...] | None:
    """Return the shape of a constant; None for a name."""
    return item.type.shape if isinstance(item, Constant) else None


def _sizes(op: Op, name: str, types: Mapping[str, ValueType]) -> tuple[int, ...]:
    argument = op.inputs.get(name)
    if isinstance(argument, Constant) and isinstance(argument.value, torch.Tensor):
        return tuple(argument.value.shape)
    if isinstance(argument, Ref) and argument.name in types:
        return tuple(n or 1 for n in types[argument.name].shape or ())
    return ()


def seconds(
    op: Op, family: Family, data: EngineData, types: Mapping[str, ValueType], weights: Mapping[str, int]
) -> float | None:
    """Return the estimated seconds of an op within a program, its dispatch left out; None where there is no form."""
    support = data.support.ops.get(op.op_type)
    if support is None or support.kind in ("attention", "other", "state", "control"):
        return None
    if op.op_type in FREE or support.kind == "weight":
        return 0.0
    if support.kind == "product":
        work = flops(op, types)
        if work is None:
            return None
        moved = sum(operand_bytes(op, types, weights))
        return max(work / family.costs.peak_flops.number, moved / family.costs.bytes_per_s.number)
    costs = data.element_costs
    scale = data.families[costs.family].costs.bytes_per_s.number / family.costs.bytes_per_s.number
    return costs.seconds[support.kind] * scale * _work_elements(op, support.kind, types)


def _work_elements(op: Op, kind: str, types: Mapping[str, ValueType]) -> int:
    """Return the number of elements an op processes: those it reads for reductions, those it writes for the rest."""
    out = sum(elements(value.type) for value in op.outputs)
    if kind not in ("reduction", "reduce_l2") and not op.op_type.startswith("reduce_"):
        return out
    given = op.inputs.get("x")
    return elements(types[given.name]) if isinstance(given, Ref) and given.name in types else out
