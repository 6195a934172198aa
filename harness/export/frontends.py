"""The two ways from an eager module to a program coremltools reads: TorchScript and torch.export."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import torch
from torch.jit._trace import TracerWarning

if TYPE_CHECKING:
    from collections.abc import Callable


def trace(module: torch.nn.Module, example: tuple[torch.Tensor, ...]) -> torch.jit.ScriptModule:
    """Record one run as TorchScript.

    The trace is not run again to check it: ``nn.MultiheadAttention`` takes another path the second time. The
    tests compare every traced model with its eager one instead.
    """
    traced: torch.jit.ScriptModule = torch.jit.trace(module, example, check_trace=False)  # type: ignore[no-untyped-call]
    return traced


def export(module: torch.nn.Module, example: tuple[torch.Tensor, ...]) -> torch.export.ExportedProgram:
    """Export, decomposed to core ATen: the only dialect coremltools reads besides EDGE."""
    program: torch.export.ExportedProgram = torch.export.export(module, example, strict=False)
    decomposed: torch.export.ExportedProgram = program.run_decompositions({})
    return decomposed


FRONTENDS: dict[str, Callable[[torch.nn.Module, tuple[torch.Tensor, ...]], Any]] = {
    "trace": trace,
    "export": export,
}
"""Frontends by name."""


def run(frontend: str, module: torch.nn.Module, example: tuple[torch.Tensor, ...]) -> Any:
    """Run a frontend without gradients and without the libraries' notes about each other's deprecations."""
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", TracerWarning)
        return FRONTENDS[frontend](module, example)
