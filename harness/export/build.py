"""Build a zoo entry's network with seeded weights; nothing is downloaded."""

from __future__ import annotations

import contextlib
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from harness.errors import ExportError
from harness.export.massive import make_massive
from harness.export.seeding import Deferred
from harness.plan.shapes import LENGTH

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.zoo.catalog import ModelSpec, Size


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence transformers' log below errors, and its deprecation warnings, inside a ``with`` block."""
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

    A newly made norm multiplies by exactly 1 (its weight is 1, or 0 where the model computes 1 + w). Converters
    drop such a multiplication, so the program would lack one that a trained model has.
    """
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if "norm" in type(module).__name__.lower():
            for weight in module.parameters(recurse=False):
                weight.data += torch.rand(weight.shape, generator=generator) - 0.5


def seeded_tokens(seed: int, vocabulary: int, length: int) -> np.ndarray[Any, Any]:
    """Return the token ids that a seeded model is run on, int32, shape (1, N)."""
    return np.random.default_rng(seed).integers(0, vocabulary, (1, length), dtype=np.int32)


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
    with quiet_transformers(), torch.random.fork_rng(devices=[]):
        config = spec.config(size)
        torch.manual_seed(spec.gamma_seed)
        try:
            with Deferred(spec.gamma_seed) if size == "full" else contextlib.nullcontext():
                network: torch.nn.Module = architecture(config)
        except Exception as error:  # a constructor may raise anything; the entry cannot be built
            raise ExportError(f"{spec.key}: {spec.architecture} cannot be built: {error}") from error
    _seed_norms(network, spec.gamma_seed)
    network = network.float().eval().requires_grad_(requires_grad=False)
    if spec.activations == "massive" and spec.wrapper == "causal":
        tokens = torch.from_numpy(seeded_tokens(spec.gamma_seed, config.vocab_size, LENGTH))
        try:
            with quiet_transformers():
                make_massive(network, tokens, spec.residual_peak)
        except RuntimeError as error:  # of torch, from the network's own code
            raise ExportError(f"{spec.key}: cannot run to seed its activations: {error}") from error
    return network
