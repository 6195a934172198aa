"""Short cuts of the tests: torch modules to programs, programs to op lists and values."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import coremltools as ct
import numpy as np
import torch

from harness.interpreter import ReferenceModel

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

UNITS = [None, *ct.ComputeUnit]
"""Every case of the compute units: unset, and each value."""

NE = ct.ComputeUnit.CPU_AND_NE


class Norm(torch.nn.Module):
    """A function of x and a weight, as a module."""

    def __init__(self, function: Callable[[Any, Any], Any], weight: torch.Tensor | None = None) -> None:
        super().__init__()
        self.function = function
        seeded = torch.rand(64, generator=torch.Generator().manual_seed(7)) + 0.5
        self.weight = torch.nn.Parameter(seeded if weight is None else weight, requires_grad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the function."""
        return self.function(x, self.weight)


def torch_program(module: torch.nn.Module, shape: Sequence[int], frontend: str = "trace") -> Any:
    """Return a TorchScript or exported program."""
    example = torch.randn(*shape, generator=torch.Generator().manual_seed(1))
    module = module.eval()
    if frontend == "trace":
        return torch.jit.trace(module, example)
    from harness.export.frontends import run

    return run("export", module, (example,))


def inputs(shape: Sequence[int], dtype: type = np.float32) -> list[ct.TensorType]:
    """Return the one input ``x``."""
    return [ct.TensorType(name="x", shape=tuple(shape), dtype=dtype)]


def options(units: ct.ComputeUnit | None, **more: Any) -> dict[str, Any]:
    """Return arguments of a conversion; ``None`` leaves the compute units unset."""
    chosen = {} if units is None else {"compute_units": units}
    return {"convert_to": "mlprogram", "skip_model_load": True, **chosen, **more}


def op_types(model: Any) -> list[str]:
    """Return the op types of a model's or program's main function in order, constants left out."""
    program = getattr(model, "_mil_program", model)
    return [op.op_type for op in program["main"].operations if op.op_type != "const"]


def op_counts(model: Any) -> Counter[str]:
    """Return how often each op type stands in a model's main function."""
    return Counter(op_types(model))


def predict(model: Any, x: np.ndarray, precision: str = "fp32") -> np.ndarray:
    """Run a model of one input and one output in the reference executor."""
    reference = ReferenceModel(model, precision=precision)
    (name,) = [given.value.name for given in reference.function.inputs]
    (result,) = reference.predict({name: x}).values()
    return result


def rms_norm64(x: np.ndarray, gamma: np.ndarray | None, epsilon: float, axis: Any = -1) -> np.ndarray:
    """Return RMSNorm by its formula in float64, written independently of the package."""
    wide = x.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        y = wide / np.sqrt((wide**2).mean(axis=axis, keepdims=True) + epsilon)
    return y if gamma is None else y * gamma.astype(np.float64)


def regimes(shape: Sequence[int], seed: int = 0) -> np.ndarray:
    """Return rows of every kind an RMSNorm meets: N(0, 1), zeros, spikes, tiny values, float16's largest number."""
    x = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    rows = x.reshape(-1, shape[-1])
    specials = (0.0, 300.0, 2500.0, 1e-3, 65504.0)
    for row, special in zip(rows[1:], specials, strict=False):
        if special in (0.0, 1e-3):
            row[:] *= special
        else:
            row[0] = special
    return x
