"""Leave the large matrix products out of a trace, which records the ops of a run and not their results.

A trace of a Llama of 1.24e9 parameters computes 8e10 products only to drop them. Inside :class:`ProductsLeftOut` a
product with a large weight gives zeros of its shape; every other op runs.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.modules.conv import _ConvNd
from torch.utils._python_dispatch import TorchDispatchMode

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

LARGE_ELEMENTS = 1 << 20
"""A product with a smaller weight is computed: it takes less than a millisecond for a few tokens."""


class ProductsLeftOut(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Give zeros for ``aten.mm`` and ``aten.addmm`` with a large second matrix."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an op, or leave it out."""
        if func in (torch.ops.aten.mm.default, torch.ops.aten.addmm.default):
            left, right = args[-2:]
            if right.numel() >= LARGE_ELEMENTS:
                return left.new_zeros(left.shape[0], right.shape[1])
        return func(*args, **(kwargs or {}))


def large_products(module: torch.nn.Module) -> AbstractContextManager[object]:
    """Return a context that leaves out a module's large products, if it has any.

    A module with convolutions is run as it is: under a dispatch mode, a trace takes an op before one for a constant.
    """
    large = any(weight.numel() >= LARGE_ELEMENTS for weight in module.parameters())
    convolves = any(isinstance(one, _ConvNd) for one in module.modules())
    return ProductsLeftOut() if large and not convolves else contextlib.nullcontext()  # type: ignore[no-untyped-call]
