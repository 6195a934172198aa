"""Make the modules of a shape, one, or two for ``both``, each with example inputs and states."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.errors import UnsuitedShapeError
from harness.export.wrappers import FlexibleModel

if TYPE_CHECKING:
    import torch

    from harness.plan.shapes import Shape

    Array = np.ndarray[Any, Any]


UNROLLED = frozenset({"linear_attention", "mamba", "mamba2", "hybrid"})
"""Layer types that loop over the sequence; a trace unrolls the loop at the length it was made with."""


@dataclass(frozen=True, slots=True)
class Part:
    """A module to be traced, with example inputs."""

    name: str
    """The function's name in the package."""
    module: Any
    inputs: dict[str, Array]
    """Example inputs by name."""
    states: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Shapes of the buffers that are states, by name."""

    def reset(self) -> None:
        """Zero the states, which every eager or traced run writes."""
        if self.states:
            self.module.reset()


def parts(
    network: torch.nn.Module, reference: torch.nn.Module, shape: Shape, tokens: Array, frontend: str
) -> list[Part]:
    """Return the modules of a shape.

    Parameters
    ----------
    network: the transformers model.
    reference: its wrapper of fixed length, which is the module of ``prefill``.
    shape: how the program takes its tokens.
    tokens: the run's, int32, shape (1, N).
    frontend: ``"trace"`` or ``"export"``.

    Raises
    ------
    UnsuitedShapeError: if the model has no such shape.
    """
    if shape.kind == "prefill":
        return [Part("main", reference, {"input_ids": tokens})]
    if shape.kind == "flexible":
        if unrolled := sorted(UNROLLED & set(getattr(network.config, "layer_types", None) or ())):
            raise UnsuitedShapeError(f"{', '.join(unrolled)} layers are unrolled for one length")
        return [Part("main", FlexibleModel(network, shape.length).eval(), {"input_ids": tokens})]
    from harness.export.stateful import StatefulModel, cache_shapes

    kept = cache_shapes(network)
    made = []
    for name, queries in shape.queries().items():
        module = StatefulModel(network, queries, shape.length, kept, frontend).eval()
        inputs = {"input_ids": tokens[:, :queries], "position": np.zeros(1, np.int32)}
        made.append(Part(name, module, inputs, module.states))
    return made
