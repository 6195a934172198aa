"""Replace translations of coremltools 9.0 that fail or give values different from torch's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from coremltools.converters.mil.mil import Builder, Var, types

from harness.convert.torch_ops.translation import inputs, mend, with_input

if TYPE_CHECKING:
    from harness.convert.torch_ops.translation import Translation


@mend("gelu")
def gelu(_original: Translation, context: Any, node: Any) -> None:
    """``aten.gelu(x, approximate)``: torch.export passes ``approximate`` by keyword, which coremltools drops.

    coremltools then uses the exact form instead of the tanh form: 4e-5 relative L2 in the logits of a two-layer
    Gemma 2. The keyword is read from the node itself. If it were looked up in the context, as other inputs are,
    ``"tanh"`` would be mistaken for the name of a node wherever the model computes a tanh.
    """
    x, *rest = inputs(context, node)
    by_keyword = (node.kwinputs or {}).get("approximate")
    approximate = by_keyword[0] if by_keyword else getattr(rest[0], "val", None) if rest else None
    mode = "TANH_APPROXIMATION" if approximate == "tanh" else "EXACT"
    context.add(Builder.gelu(x=x, mode=mode, name=node.name))


@mend("sub")
def sub(original: Translation, context: Any, node: Any) -> None:
    """``x - y`` of two scalar constants: coremltools loses the type of the result and stops."""
    x, y, *_alpha = inputs(context, node)
    a, b = (getattr(value, "val", None) for value in (x, y))
    if node.kind != "sub" or a is None or b is None or np.ndim(a) or np.ndim(b):
        original(context, node)
        return
    kinds = (np.float32 if isinstance(value, float) else np.asarray(value).dtype for value in (a, b))
    context.add(Builder.const(val=np.result_type(*kinds).type(a - b), name=node.name))


@mend("cumsum")
def cumsum(original: Translation, context: Any, node: Any) -> None:
    """``torch.cumsum(x, dim)`` along an axis counted from the end, which MIL allows only for the last axis."""
    x, dim, *_ = inputs(context, node)
    axis = int(getattr(dim, "val", dim))
    original(context, with_input(context, node, 1, np.int32(axis % x.rank)))


@mend("floor_divide")
def floor_divide(original: Translation, context: Any, node: Any) -> None:
    """``x // y``: integers give integers, as in torch since 1.13; coremltools gives floats."""
    x, y = inputs(context, node)
    if types.is_int(x.dtype) and types.is_int(y.dtype):
        context.add(Builder.floor_div(x=x, y=y, name=node.name))
    else:
        original(context, node)


@mend("scatter", "scatter.value")
def scatter(original: Translation, context: Any, node: Any) -> None:
    """``x.scatter(dim, index, value)``: cast the value to x's type, which coremltools does not."""
    x, _dim, _index, value, *_ = inputs(context, node)
    if value.rank == 0 and value.val is not None:
        scalar = types.nptype_from_builtin(x.dtype)(value.val)
        node = with_input(context, node, 3, Builder.const(val=scalar))
    original(context, node)


@mend("broadcast_tensors")
def broadcast_tensors(original: Translation, context: Any, node: Any) -> None:
    """``torch.broadcast_tensors`` of scalars: coremltools packs constant scalars into a single tensor."""
    (tensors,) = inputs(context, node)
    if isinstance(tensors, Var):
        tensors = [Builder.const(val=value) for value in tensors.val]
    if len({tuple(tensor.shape) for tensor in tensors}) == 1:
        context.add(tensors, torch_name=node.name)
    else:
        original(context, node)


@mend("_internal_op_tensor_inplace_copy")
def assign_slice(original: Translation, context: Any, node: Any) -> None:
    """``x[..., a:b] = y``: a slice of an axis other than the first, which coremltools mistakes for the first.

    The trace names the axis, and a pass of coremltools drops it; it is found as the only axis in which x and y differ.
    """
    data, updates, *bounds = (None if name is None else context[name] for name in node.inputs)
    assert data is not None  # noqa: S101  (a tensor is assigned to)
    assert updates is not None  # noqa: S101
    one_slice = len(bounds) == 3 and node.inputs[3] is not None and data.rank == updates.rank
    axes = [i for i in range(data.rank) if data.shape[i] != updates.shape[i]] if one_slice else []
    if len(axes) != 1 or axes == [0]:
        original(context, node)
        return
    axis = axes[0]
    start = 0 if bounds[0] is None else int(bounds[0].val)
    stop = start + updates.shape[axis]
    pieces = [(0, start), (stop, data.shape[axis])]
    before, after = ([_slice(data, axis, *piece)] if piece[0] < piece[1] else [] for piece in pieces)
    context.add(Builder.concat(values=[*before, updates, *after], axis=axis, name=node.name))


def _slice(x: Any, axis: int, start: int, stop: int) -> Any:
    begin, size = [0] * x.rank, list(x.shape)
    begin[axis], size[axis] = start, stop - start
    return Builder.slice_by_size(x=x, begin=begin, size=size)
