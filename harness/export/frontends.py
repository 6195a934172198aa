"""Turn an eager module into a program that coremltools reads, by TorchScript or torch.export."""

from __future__ import annotations

import contextlib
import warnings
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch.jit._trace import TracerWarning

from harness.export.left_out import large_products

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


Example: TypeAlias = "tuple[torch.Tensor, ...]"


def trace(module: torch.nn.Module, example: Example, _longest: int | None) -> torch.jit.ScriptModule:
    """Record one run as TorchScript, which is valid for every length that the module's own arithmetic follows.

    torch's check of the trace by a second run is off, because ``nn.MultiheadAttention`` takes another path the
    second time. The tests compare every traced model with its eager one instead.
    """
    with large_products(module):
        traced: torch.jit.ScriptModule = torch.jit.trace(module, example, check_trace=False)  # type: ignore[no-untyped-call]
    return traced


def export(module: torch.nn.Module, example: Example, longest: int | None) -> torch.export.ExportedProgram:
    """Export, decomposed to core ATen: the only dialect coremltools reads besides EDGE."""
    dynamic = None if longest is None else ({1: torch.export.Dim("length", min=1, max=longest)},)
    program: torch.export.ExportedProgram = torch.export.export(module, example, dynamic_shapes=dynamic, strict=False)
    decomposed: torch.export.ExportedProgram = program.run_decompositions({})
    return decomposed


FRONTENDS: dict[str, Callable[[torch.nn.Module, Example, int | None], Any]] = {
    "trace": trace,
    "export": export,
}
"""Frontends by name."""


class _Forward:
    """Replaces the context of an ``autograd.Function``, in which a forward keeps values for a backward."""

    def __getattr__(self, _: str) -> Callable[..., None]:
        return lambda *_args, **_named: None


@contextlib.contextmanager
def inlined_functions() -> Iterator[None]:
    """Run each ``autograd.Function``'s forward as plain torch ops inside a ``with`` block.

    Without gradients the forward is all that it runs. A trace would contain an opaque Python op instead, as for
    RecurrentGemma's square root with a bounded derivative.
    """
    function: Any = torch.autograd.Function
    kept = function.__dict__["apply"]

    def apply(cls: Any, *arguments: Any, **named: Any) -> Any:
        own_context = cls.setup_context is function.setup_context
        return cls.forward(*([_Forward()] if own_context else []), *arguments, **named)

    function.apply = classmethod(apply)
    try:
        yield
    finally:
        function.apply = kept


def run(frontend: str, module: torch.nn.Module, example: Example, longest: int | None = None) -> Any:
    """Run a frontend without gradients and without the libraries' deprecation warnings.

    Parameters
    ----------
    frontend: a key of :data:`FRONTENDS`.
    module, example: the module, and the input that it runs on.
    longest: if given, the second dimension of the example's one tensor may be any number from 1 to this.
    """
    with torch.no_grad(), inlined_functions(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", TracerWarning)
        # RecurrentGemma assigns its state, which torch then puts back: a prefill begins without one.
        warnings.filterwarnings("ignore", r"The tensor attributes? .* assigned during export", UserWarning)
        return FRONTENDS[frontend](module, example, longest)
