r"""Read ``torch.nn.RMSNorm`` and ``F.rms_norm`` as RMSNorms while a model is converted for the Neural Engine.

coremltools 9.0 expands them into a rescale by the largest magnitude: epsilon then acts as ``eps * max(x)^2``, a row of
zeros gives NaN, ``eps=None`` becomes 1e-5 where torch uses float32's machine epsilon, and a float16 module does not
convert (coremltools issues 2585, 2821). This module emits ``ane_rms_norm`` instead, which the passes then lower.

A norm that the passes must not take, over several axes or over one of unknown size, is expanded into primitives, with
its input divided by ``m = max(|x|, 1)``, which keeps its squares inside float16:

.. math::  y = \frac{x / m}{\sqrt{\operatorname{mean}((x / m)^2) + \epsilon / m^2}} \cdot \gamma

torch is not imported here, because coremltools has imported it if a torch model is converted.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from coremltools import _logger as logger
from coremltools.converters.mil.mil import Builder as mb

from ane_rms import mil
from ane_rms.coremltools_patches.guard import digest, replacing
from ane_rms.coremltools_patches.lending import loan_of_torch_ops, torch_ops
from ane_rms.op import parameters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KNOWN = "76412cc59b7b074e"
"""The digest of coremltools' own translation, which this module replaces."""

UNSET_EPSILON = float(np.finfo(np.float32).eps)
"""torch's value of ``eps=None``: the machine epsilon of its compute type, which is float32 for float16 modules."""


@contextmanager
def reading_rms_norm(*, any_axes: bool) -> Iterator[None]:
    """Read ``aten::rms_norm`` as ``ane_rms_norm`` inside a ``with`` block, in this thread.

    A translation that is not that of coremltools 9.0, such as a user's own, is left in place.

    Parameters
    ----------
    any_axes: whether the passes take norms over several trailing axes; otherwise those are expanded into primitives.
    """
    if "torch" not in sys.modules:
        yield
        return
    original = torch_ops().name_to_func_mapping.get("rms_norm")
    if original is None:  # this coremltools does not know the op: there is nothing to replace
        yield
        return
    if digest(original) != KNOWN:
        logger.warning(
            "ane_rms: rms_norm is not the translation known; converting without this: "
            "torch's own epsilon of torch.nn.RMSNorm"
        )
        yield
        return
    with replacing([loan_of_torch_ops({"rms_norm": _reader(original, any_axes=any_axes)})]):
        yield


def _reader(original: Callable[[Any, Any], None], *, any_axes: bool) -> Callable[[Any, Any], None]:
    def rms_norm(context: Any, node: Any) -> None:
        from coremltools.converters.mil.frontend.torch.ops import _get_inputs

        given = _get_inputs(context, node, expected=[2, 3, 4])
        x, normalized_shape, weight, eps = [*given, None, None][:4]
        if not mil.is_float(x) or (eps is not None and eps.val is None):
            original(context, node)
            return
        axes = list(range(-_count(normalized_shape), 0))
        epsilon = UNSET_EPSILON if eps is None else float(eps.val)
        gamma = None if weight is None else weight.val
        fixed = all(mil.known(x.shape[axis]) for axis in axes) and (weight is None or gamma is not None)
        if fixed and (any_axes or len(axes) == 1):
            value = mb.ane_rms_norm(x=x, axes=axes, name=node.name, **parameters(x, epsilon, gamma))
        else:
            value = _primitives(x, axes, epsilon, weight, node.name)
        context.add(value)

    return rms_norm


def _count(normalized_shape: Any) -> int:
    """Return the number of normalised axes; the shape is a list if a size in it is not known."""
    if isinstance(normalized_shape, (list, tuple)):
        return len(normalized_shape)
    return int(normalized_shape.shape[0])


def _primitives(x: mil.Var, axes: list[int], epsilon: float, weight: mil.Var | None, name: str) -> mil.Var:
    """Build the norm in float32, as torch computes it, and return it in ``x``'s type."""
    kind = mil.dtype(x)
    wide = x if kind == "fp32" else mb.cast(x=x, dtype="fp32")
    largest = mb.maximum(x=mb.reduce_max(x=mb.abs(x=wide), axes=axes, keep_dims=True), y=np.float32(1))
    scaled = mb.real_div(x=wide, y=largest)
    mean = mb.reduce_mean(x=mb.square(x=scaled), axes=axes, keep_dims=True)
    shift = mb.real_div(x=np.float32(epsilon), y=mb.square(x=largest))
    value = mb.real_div(x=scaled, y=mb.sqrt(x=mb.add(x=mean, y=shift)))
    if weight is not None:
        value = mb.mul(x=value, y=weight if mil.dtype(weight) == "fp32" else mb.cast(x=weight, dtype="fp32"))
    return mb.cast(x=value, dtype=kind, name=name) if kind != "fp32" else mb.identity(x=value, name=name)
