r"""Lower ``ane_rms_norm`` to ops that Core ML knows.

``common::lower_ane_rms_norm_to_layer_norm``: for ``CPU_AND_NE``, by one of :mod:`ane_rms.passes.strategies`. The
default rests on

.. math::  \operatorname{mean}([x, -x]) = 0, \qquad \operatorname{var}([x, -x]) = \operatorname{mean}(x^2)

so that the first half of ``LayerNorm([x, -x])`` is ``x / sqrt(mean(x^2) + eps)``: RMSNorm exactly, epsilon unchanged.
Source: Anemll, https://x.com/anemll/status/1942432672007192928.

``common::expand_ane_rms_norm``: for every compute unit, expands what is left into primitives, so that a hand-written
``mb.ane_rms_norm`` converts wherever it is.

Precondition of both: none. Postcondition: no ``ane_rms_norm`` is left where the pass acts. Values are equal but for
the rounding of the types stored.
"""

from __future__ import annotations

from typing import Any

from coremltools.converters.mil.mil.passes.graph_pass import AbstractGraphPass
from coremltools.converters.mil.mil.passes.pass_registry import register_pass

from ane_rms import mil
from ane_rms.passes.strategies import DEFAULT_STRATEGY, STRATEGIES, primitives
from ane_rms.passes.units import targets_neural_engine
from ane_rms.replacing import rewrite_each


def _standing(program: mil.Program) -> list[mil.Op]:
    return [op for block in mil.blocks(program) for op in block.operations if op.op_type == "ane_rms_norm"]


@register_pass(namespace="common")
class lower_ane_rms_norm_to_layer_norm(AbstractGraphPass):
    """Lower every ``ane_rms_norm`` by one strategy.

    Options
    -------
    compute_units: a ``ct.ComputeUnit`` or its name. Only ``CPU_AND_NE`` acts; unset leaves the program as it is.
    for_ane: whether to act for every compute unit, unset among them.
    lowering: the strategy's name, a key of :data:`ane_rms.passes.strategies.STRATEGIES`.
    """

    compute_units: Any = None
    for_ane: bool = False
    lowering: str = DEFAULT_STRATEGY

    def apply(self, prog: mil.Program) -> None:
        """Lower in place."""
        if not targets_neural_engine(self.compute_units, for_ane=self.for_ane):
            return
        rewrite_each(_standing(prog), STRATEGIES[self.lowering].build)


@register_pass(namespace="common")
class expand_ane_rms_norm(AbstractGraphPass):
    """Expand every ``ane_rms_norm`` into primitives, for every compute unit."""

    def apply(self, prog: mil.Program) -> None:
        """Expand in place."""
        rewrite_each(_standing(prog), primitives)
