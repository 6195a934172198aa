"""Find weights that are not finite, and weights that exceed float16, before a network is converted."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

import torch

from harness.system.text import some

if TYPE_CHECKING:
    from collections.abc import Iterator

LARGEST_FLOAT16 = 65_504.0
ZERO_IN_FLOAT16 = 2.0**-25
"""The largest number that float16 rounds to zero."""


def weight_problem(network: torch.nn.Module) -> str:
    """Return a sentence on weights that are NaN or infinite; "" if all are finite."""
    bad = [
        f"{name} ({lost:,} of {tensor.numel():,})"
        for name, tensor in _tensors(network)
        if (lost := tensor.numel() - int(tensor.isfinite().sum()))
    ]
    if not bad:
        return ""
    return f"the checkpoint holds weights that are NaN or infinite: {some(bad)}; get its files anew, or mend them"


def weight_marks(network: torch.nn.Module) -> tuple[str, ...]:
    """Return marks on finite weights that float16 cannot hold: they become infinite, or all zero, in the program."""
    wide, small = [], []
    for name, tensor in _tensors(network):
        largest = float(torch.nan_to_num(tensor, nan=0.0, posinf=0.0, neginf=0.0).abs().max())
        if largest > LARGEST_FLOAT16:
            wide.append(f"{name} (up to {largest:,.4g})")
        elif 0 < largest <= ZERO_IN_FLOAT16:
            small.append(f"{name} (up to {largest:,.4g})")
    found = {"weights beyond float16's 65,504": wide, "weights that are all zero in float16": small}
    return tuple(f"{what}: {some(names)}" for what, names in found.items() if names)


def _tensors(network: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield every weight that is saved with the network, shared ones only once."""
    saved = network.state_dict().keys()
    for name, tensor in chain(network.named_parameters(), network.named_buffers()):
        if name in saved and tensor.is_floating_point() and tensor.numel():
            yield name, tensor
