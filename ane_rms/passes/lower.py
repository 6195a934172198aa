r"""Lower ``ane_rms_norm`` to ops that Core ML knows.

``common::lower_ane_rms_norm_to_layer_norm``: for ``CPU_AND_NE``, by a strategy chosen by name. The default rests on

.. math::  \operatorname{mean}([x, -x]) = 0, \qquad \operatorname{var}([x, -x]) = \operatorname{mean}(x^2)

so that the first half of ``LayerNorm([x, -x])`` is ``x / sqrt(mean(x^2) + eps)``: RMSNorm exactly, epsilon unchanged.
Source: Anemll, https://x.com/anemll/status/1942432672007192928.

``common::expand_ane_rms_norm``: for every compute unit, expands what is left into primitives, so that a hand-written
``mb.ane_rms_norm`` converts wherever it is.

Precondition of both: none. Postcondition: no ``ane_rms_norm`` is left where the pass acts. Values are equal but for
the rounding of the types stored.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

import numpy as np
from coremltools.converters.mil.mil import Builder as mb
from coremltools.converters.mil.mil.passes.graph_pass import AbstractGraphPass
from coremltools.converters.mil.mil.passes.pass_registry import register_pass

from ane_rms import mil
from ane_rms.passes.units import acts

if TYPE_CHECKING:
    from collections.abc import Callable

    Strategy = Callable[[mil.Op], mil.Var]

STRATEGIES: dict[str, Strategy] = {}
"""Every lowering by name. A strategy builds, in front of an ``ane_rms_norm``, the value that replaces it."""

DEFAULT_STRATEGY = "layer_norm"


def strategy(function: Strategy) -> Strategy:
    """Register a lowering under its function's name."""
    if function.__name__ in STRATEGIES:
        raise ValueError(f"a lowering named {function.__name__!r} is registered already")
    STRATEGIES[function.__name__] = function
    return function


def check_strategy(name: str) -> str:
    """Return ``name`` if it is that of a lowering.

    Raises
    ------
    ValueError: otherwise, with the nearest names.
    """
    if name in STRATEGIES:
        return name
    near = difflib.get_close_matches(str(name), STRATEGIES, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(STRATEGIES))}"
    raise ValueError(f"unknown lowering {name!r}; {hint}")


def _axes(op: mil.Op) -> list[int]:
    """Return the normalised axes, from the front, ascending."""
    return list(mil.positive_axes([int(axis) for axis in np.atleast_1d(op.axes.val)], op.x.rank))


def _scaled(op: mil.Op, value: mil.Var) -> mil.Var:
    """Multiply by gamma, shaped so that it broadcasts along the normalised axes."""
    axes, gamma = _axes(op), np.asarray(op.gamma.val)
    shape = [op.x.shape[i] if i in axes else 1 for i in range(axes[0], op.x.rank)]
    return mb.mul(x=value, y=mil.cast_like(op.x, gamma.reshape(shape)), name=op.outputs[0].name)


@strategy
def layer_norm(op: mil.Op) -> mil.Var:
    """Negate, concatenate, layer-normalise without gamma or beta, keep the first half, scale.

    The half kept starts at 0: on M1 and A14 a slice that starts further along the width is reported to apply a gain.
    """
    x, axes = op.x, _axes(op)
    axis, half = axes[-1], x.shape[axes[-1]]
    if not mil.known(half):
        return primitives(op)
    name = op.outputs[0].name
    negative = mb.mul(x=x, y=mil.epsilon_like(x, -1.0), name=f"{name}_negative")
    doubled = mb.concat(values=[x, negative], axis=axis - x.rank, name=f"{name}_doubled")
    normal = mb.layer_norm(
        x=doubled,
        axes=[one - x.rank for one in axes],
        epsilon=mil.epsilon_like(x, float(op.epsilon.val)),
        name=f"{name}_layer_norm",
    )
    whole = [i != axis for i in range(x.rank)]
    kept = mb.slice_by_index(
        x=normal,
        begin=[0] * x.rank,
        end=[0 if full else int(half) for full in whole],
        begin_mask=whole,
        end_mask=whole,
        name=name if op.gamma is None else f"{name}_normalized",
    )
    return kept if op.gamma is None else _scaled(op, kept)


@strategy
def none(op: mil.Op) -> mil.Var:
    """Expand into primitives, as the model was written: what the other strategies are compared with."""
    return primitives(op)


def primitives(op: mil.Op) -> mil.Var:
    """Build ``x * rsqrt(mean(x * x) + epsilon)``, scaled."""
    x, name = op.x, op.outputs[0].name
    square = mb.mul(x=x, y=x, name=f"{name}_square")
    mean = mb.reduce_mean(x=square, axes=_axes(op), keep_dims=True, name=f"{name}_mean_square")
    root = mb.rsqrt(x=mean, epsilon=mil.epsilon_like(x, float(op.epsilon.val)), name=f"{name}_rsqrt")
    normal = mb.mul(x=x, y=root, name=name if op.gamma is None else f"{name}_normalized")
    return normal if op.gamma is None else _scaled(op, normal)


def _standing(program: mil.Program) -> list[mil.Op]:
    return [op for block in mil.blocks(program) for op in block.operations if op.op_type == "ane_rms_norm"]


@register_pass(namespace="common")
class lower_ane_rms_norm_to_layer_norm(AbstractGraphPass):  # noqa: N801 - coremltools names a pass by its class
    """Lower every ``ane_rms_norm`` by one strategy.

    Options
    -------
    compute_units: a ``ct.ComputeUnit`` or its name. Only ``CPU_AND_NE`` acts; unset leaves the program as it is.
    lowering: the strategy's name, a key of :data:`STRATEGIES`.
    """

    compute_units: Any = None
    lowering: str = DEFAULT_STRATEGY

    def apply(self, prog: mil.Program) -> None:
        """Lower in place."""
        if acts(self.compute_units):
            mil.rewrite_each(prog, _standing(prog), STRATEGIES[check_strategy(self.lowering)])


@register_pass(namespace="common")
class expand_ane_rms_norm(AbstractGraphPass):  # noqa: N801 - coremltools names a pass by its class
    """Expand every ``ane_rms_norm`` into primitives, for every compute unit."""

    def apply(self, prog: mil.Program) -> None:
        """Expand in place."""
        mil.rewrite_each(prog, _standing(prog), primitives)
