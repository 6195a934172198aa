"""Read ``torch.nn.RMSNorm`` and ``F.rms_norm`` as what they are, while a model is converted for the Neural Engine.

coremltools 9.0 writes them out as a rescale by the largest magnitude: epsilon then acts as ``eps * max(x)^2``, a row of
zeros gives NaN, ``eps=None`` becomes 1e-5 where torch takes float32's machine epsilon, and a float16 module does not
convert (coremltools issues 2585, 2821). In place of that, ``ane_rms_norm`` is written, which the passes then lower.

torch itself is not imported here: where a torch model is converted, coremltools has imported it.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from coremltools.converters.mil.mil import Builder as mb

from ane_rms import mil
from ane_rms.op import parameters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

UNSET_EPSILON = float(np.finfo(np.float32).eps)
"""What torch takes for ``eps=None``: the machine epsilon of the type it computes in, float32 for modules of float16."""


@contextmanager
def reading_rms_norm(*, any_axes: bool) -> Iterator[None]:
    """Have ``aten::rms_norm`` read as ``ane_rms_norm`` within a ``with`` block; the registry is put back after.

    Parameters
    ----------
    any_axes: whether norms over several trailing axes are read so, too; otherwise coremltools' own reading stays.
    """
    if "torch" not in sys.modules:
        yield
        return
    from coremltools.converters.mil.frontend.torch.torch_op_registry import _TORCH_OPS_REGISTRY as REGISTRY

    before = REGISTRY.name_to_func_mapping.get("rms_norm")
    if before is None:  # a coremltools that does not know the op: there is nothing to take the place of
        yield
        return
    REGISTRY.set_func_by_name(_reader(before, any_axes=any_axes), "rms_norm")
    try:
        yield
    finally:
        REGISTRY.set_func_by_name(before, "rms_norm")


def _reader(before: Callable[[Any, Any], None], *, any_axes: bool) -> Callable[[Any, Any], None]:
    def rms_norm(context: Any, node: Any) -> None:
        from coremltools.converters.mil.frontend.torch.ops import _get_inputs

        given = _get_inputs(context, node, expected=[2, 3, 4])
        x, normalized_shape, weight, eps = [*given, None, None][:4]
        count = len(normalized_shape.val)
        if not mil.is_float(x) or (count > 1 and not any_axes) or (weight is not None and weight.val is None):
            before(context, node)
            return
        epsilon = UNSET_EPSILON if eps is None else float(eps.val)
        given = parameters(x, epsilon, None if weight is None else weight.val)
        value = mb.ane_rms_norm(x=x, axes=list(range(-count, 0)), name=node.name, **given)
        context.add(value)

    return rms_norm
