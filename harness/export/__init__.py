"""From a zoo entry to a program that coremltools converts: build, wrap, count the norms, trace or export.

spec = harness.zoo.load_zoo()["llama"]
exported = harness.export.export(spec)
with harness.torch_ops.registered():
    coremltools.convert(exported.program, inputs=exported.ct_inputs(), convert_to="mlprogram")
"""

from __future__ import annotations

import contextlib
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from harness.errors import ExportError, UnknownNameError
from harness.export import frontends
from harness.export.norms import NormCall, norms_executed
from harness.export.wrappers import WRAPPERS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.zoo import ModelSpec, Size

__all__ = ["FRONTENDS", "ExportedModel", "NormCall", "build", "export", "norms_executed"]

FRONTENDS = tuple(frontends.FRONTENDS)
"""Names of the frontends, the default one first."""

SEQUENCE_LENGTH = 32
"""Tokens of the example input."""


@dataclass(frozen=True, slots=True)
class ExportedModel:
    """A zoo model as a program, beside the eager module it came from."""

    spec_key: str
    frontend: str
    program: Any
    """``torch.jit.ScriptModule`` or ``torch.export.ExportedProgram``."""
    module: torch.nn.Module
    """The eager wrapper: ``module(input_ids)`` gives the logits, shape (1, S, vocabulary), float32."""
    inputs: dict[str, np.ndarray[Any, Any]]
    """Example inputs by name: ``input_ids``, int32, shape (1, S)."""
    norms: tuple[NormCall, ...]
    """Every execution of a norm-like module in one eager run."""

    def ct_inputs(self) -> list[Any]:
        """Return the inputs as ``coremltools.TensorType``, for ``coremltools.convert(inputs=...)``."""
        import coremltools as ct

        return [
            ct.TensorType(name=name, shape=value.shape, dtype=value.dtype.type) for name, value in self.inputs.items()
        ]


@contextlib.contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Silence transformers' log below errors, and its deprecation notes, for a while."""
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        logging.set_verbosity(verbosity)


def _seed_norms(network: torch.nn.Module, seed: int) -> None:
    """Move every weight of a norm by up to half a unit from its neutral value.

    A fresh norm multiplies by exactly 1 (its weight is 1, or 0 where the model computes 1 + w), which
    converters rightly drop: the multiplication a trained model has would be missing from the program.
    """
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if "norm" in type(module).__name__.lower():
            for weight in module.parameters(recurse=False):
                weight.data += torch.rand(weight.shape, generator=generator) - 0.5


def build(spec: ModelSpec, *, size: Size = "quick") -> torch.nn.Module:
    """Build a zoo model with seeded weights, in float32 and eval mode; nothing is downloaded.

    Parameters
    ----------
    spec: the zoo entry.
    size: ``"quick"`` or ``"full"``; the full one takes 4 bytes a parameter of the published model.

    Raises
    ------
    ZooFileError: if the configuration is refused.
    ExportError: if transformers has no such architecture or cannot build it.
    """
    import transformers

    architecture = getattr(transformers, spec.architecture, None)
    if architecture is None:
        raise ExportError(f"models/{spec.key}.toml: architecture: transformers has no {spec.architecture!r}")
    with _quiet_transformers(), torch.random.fork_rng(devices=[]):
        config = spec.config(size)
        torch.manual_seed(spec.gamma_seed)
        try:
            network: torch.nn.Module = architecture(config)
        except Exception as error:  # whatever a constructor raises, the entry cannot be built
            raise ExportError(f"{spec.key}: {spec.architecture} cannot be built: {error}") from error
    _seed_norms(network, spec.gamma_seed)
    return network.float().eval().requires_grad_(requires_grad=False)


def export(
    spec: ModelSpec,
    *,
    size: Size = "quick",
    frontend: str = "trace",
    sequence_length: int = SEQUENCE_LENGTH,
) -> ExportedModel:
    """Build a zoo model and trace or export it.

    Parameters
    ----------
    spec: the zoo entry.
    size: ``"quick"`` or ``"full"``.
    frontend: ``"trace"`` (TorchScript) or ``"export"`` (torch.export).
    sequence_length: S, fixed in the program.

    Raises
    ------
    UnknownNameError: for an unknown frontend.
    ZooFileError, ExportError: if the model cannot be built, run, or traced.
    """
    if frontend not in frontends.FRONTENDS:
        raise UnknownNameError("frontend", frontend, frontends.FRONTENDS)
    network = build(spec, size=size)
    module = WRAPPERS[spec.wrapper](network, sequence_length).eval()
    inputs = {"input_ids": _tokens(spec, size, sequence_length)}
    with _quiet_transformers():
        try:
            norms = norms_executed(module, inputs)
            program = frontends.run(frontend, module, tuple(map(torch.from_numpy, inputs.values())))
        except Exception as error:  # torch raises errors of many kinds here, all of them about this model
            raise ExportError(f"{spec.key}: {frontend}: {type(error).__name__}: {error}") from error
    return ExportedModel(spec.key, frontend, program, module, inputs, norms)


def _tokens(spec: ModelSpec, size: Size, sequence_length: int) -> np.ndarray[Any, Any]:
    """Return seeded token ids, int32, shape (1, S)."""
    generator = np.random.default_rng(spec.gamma_seed)
    return generator.integers(0, spec.config(size).vocab_size, (1, sequence_length), dtype=np.int32)
