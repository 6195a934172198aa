"""Translate ops on complex tensors, which the rotary embeddings of Llama 4 and DeepSeek-V2 use.

coremltools has a dialect of complex ops, which one of its passes turns into pairs of real ops, but it
translates few torch ops into that dialect. The translations here work on the real and the imaginary part.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from coremltools.converters.mil.mil import Builder, Var, types

from harness.convert.torch_ops.translation import inputs, mend, op, with_input

if TYPE_CHECKING:
    from harness.convert.torch_ops.translation import Translation


def _is_complex(value: Any) -> bool:
    return isinstance(value, Var) and bool(types.is_complex(value.dtype))


def _parts(value: Any) -> tuple[Any, Any]:
    """Return the real and the imaginary part of a number that may be real."""
    if _is_complex(value):
        return Builder.complex_real(data=value), Builder.complex_imag(data=value)
    return value, np.float32(0)


@op("polar")
def polar(context: Any, node: Any) -> None:
    """``torch.polar(abs, angle)``: abs * (cos(angle) + i sin(angle))."""
    size, angle = inputs(context, node)
    real = Builder.mul(x=size, y=Builder.cos(x=angle))
    imag = Builder.mul(x=size, y=Builder.sin(x=angle))
    context.add(Builder.complex(real_data=real, imag_data=imag, name=node.name))


@op("view_as_complex")
def view_as_complex(context: Any, node: Any) -> None:
    """``torch.view_as_complex(x)``: the pairs of the last axis, (..., 2), as complex numbers, (...)."""
    (x,) = inputs(context, node)
    real, imag = (Builder.squeeze(x=part, axes=[-1]) for part in Builder.split(x=x, num_splits=2, axis=-1))
    context.add(Builder.complex(real_data=real, imag_data=imag, name=node.name))


@mend("mul")
def mul(original: Translation, context: Any, node: Any) -> None:
    """``x * y``: (a + ib)(c + id) = (ac - bd) + i(ad + bc)."""
    x, y = inputs(context, node)
    if not _is_complex(x) and not _is_complex(y):
        original(context, node)
        return
    (a, b), (c, d) = _parts(x), _parts(y)
    real = Builder.sub(x=Builder.mul(x=a, y=c), y=Builder.mul(x=b, y=d))
    imag = Builder.add(x=Builder.mul(x=a, y=d), y=Builder.mul(x=b, y=c))
    context.add(Builder.complex(real_data=real, imag_data=imag, name=node.name))


@mend("unsqueeze", "slice")
def by_parts(original: Translation, context: Any, node: Any) -> None:
    """Apply an op on a tensor's shape to the real and to the imaginary part."""
    x = context[node.inputs[0]]
    if not _is_complex(x):
        original(context, node)
        return
    done = []
    for value, part in zip(_parts(x), ("real", "imag"), strict=True):
        part_node = with_input(context, node, 0, value, f"{node.name}_{part}")
        original(context, part_node)
        done.append(context[part_node.name])
    context.add(Builder.complex(real_data=done[0], imag_data=done[1], name=node.name))


@mend("to", "_to_copy")
def to(original: Translation, context: Any, node: Any) -> None:
    """``x.to(device)``: return x unchanged; coremltools would look up the number of its type."""
    x = context[node.inputs[0]]
    if _is_complex(x):
        context.add(x, torch_name=node.name)
    else:
        original(context, node)
