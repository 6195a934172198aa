"""Expand an ``ane_rms_norm`` into primitives, in the form that models use."""

from __future__ import annotations

from coremltools.converters.mil.mil import Builder as mb

from ane_rms import mil
from ane_rms.passes.parts import axes_of, epsilon_of, part_name, scaled


class Unlowerable(ValueError):  # noqa: N818 - not a user's error: the norm is expanded instead
    """A lowering does not support a norm; the message gives the reason, to follow the lowering's name."""


def primitives(op: mil.Op) -> mil.Var:
    """Build ``x / sqrt(mean(x * x) + epsilon)``, times gamma.

    The division keeps zero rows at zero, whereas ``rsqrt`` of a small epsilon would overflow float16.
    """
    x, result = op.x, op.outputs[0].name
    square = mb.mul(x=x, y=x, name=part_name(op, "square"))
    mean = mb.reduce_mean(x=square, axes=axes_of(op), keep_dims=True, name=part_name(op, "mean_square"))
    if epsilon := epsilon_of(op):
        mean = mb.add(x=mean, y=mil.epsilon_like(x, epsilon), name=part_name(op, "mean_square_epsilon"))
    rms = mb.sqrt(x=mean, name=part_name(op, "rms"))
    return scaled(op, mb.real_div(x=x, y=rms, name=result if op.gamma is None else part_name(op, "normalized")))
