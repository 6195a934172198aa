"""The result of an export: a program, or two that share weights and states, with the eager model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.plan.shapes import Shape

if TYPE_CHECKING:
    import torch

    from harness.export.norms import NormCall

    Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class ExportedModel:
    """A model as a program, with the eager module it came from."""

    spec_key: str
    frontend: str
    program: Any
    """``torch.jit.ScriptModule`` or ``torch.export.ExportedProgram``."""
    module: torch.nn.Module
    """The eager model: ``module(tokens)`` gives the logits of all N tokens, shape (1, N, vocabulary), float32."""
    inputs: dict[str, Array]
    """Example inputs of one call by name: ``input_ids``, int32, (1, S), and, with states, ``position``, int32, (1,)."""
    norms: tuple[NormCall, ...]
    """Every execution of a norm-like module in one eager call."""
    tokens: Array
    """Seeded token ids of a run, int32, shape (1, N)."""
    shape: Shape = field(default_factory=Shape)
    states: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Shapes of the states by name; empty for a program without states."""
    name: str = "main"
    """The function's name."""
    logits: Array | None = None
    """The result of ``module(tokens)``, if the run that listed the norms was that call; else None, as with rotary
    tables."""
    norms_expected: int = 0
    """Number of RMSNorms that one call must execute, by the zoo file's formula; without one, the number executed."""
    norms_written_out: int = 0
    """How many of them are not modules, and therefore not among the functions' ``norms``."""
    prompts: tuple[Array, ...] = ()
    """Token ids of prompts, int32, each (1, n) with n at most N; empty for a model without a tokenizer."""
    text: Array | None = None
    """Token ids of a longer text, int32, (1, n), to measure perplexity on; None if it is not measured."""
    marks: tuple[str, ...] = ()
    """Notes shown with the model's rows."""
    decode: ExportedModel | None = None
    """The function ``decode`` of the shape ``both``, if this is its ``prefill``."""

    @property
    def functions(self) -> tuple[ExportedModel, ...]:
        """Both functions of the shape ``both``; otherwise this one alone."""
        return (self,) if self.decode is None else (self, self.decode)

    @property
    def runs(self) -> tuple[Array, ...]:
        """Token ids that the model is measured on, int32, each (1, n) with n at most N."""
        return self.prompts or (self.tokens,)

    @property
    def deployment_target(self) -> str:
        """Name of the ``ct.target``: iOS 18 for states, else iOS 17, whose layer_norm takes a float32 epsilon."""
        return "iOS18" if self.states else "iOS17"

    def ct_inputs(self) -> list[Any]:
        """Return the inputs as ``coremltools.TensorType``, for ``coremltools.convert(inputs=...)``."""
        import coremltools as ct

        def shape(name: str, value: Array) -> Any:
            if self.shape.kind == "flexible" and name == "input_ids":
                longest = self.shape.length
                return ct.Shape((1, ct.RangeDim(lower_bound=1, upper_bound=longest, default=longest)))
            return value.shape

        return [
            ct.TensorType(name=name, shape=shape(name, value), dtype=value.dtype.type)
            for name, value in self.inputs.items()
        ]

    def ct_states(self) -> list[Any]:
        """Return the states as ``coremltools.StateType``: float16, the only type that Core ML states have."""
        import coremltools as ct

        return [
            ct.StateType(wrapped_type=ct.TensorType(shape=shape, dtype=np.float16), name=name)
            for name, shape in self.states.items()
        ]
