"""``select`` and MIL's lists. ``cond`` and ``while_loop`` are in the loop itself, since they run blocks.

A list is a Python list of tensors, never changed in place: writing returns a new one. Reading an element
nothing was written to gives zeros.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from harness.interpreter.dtypes import dtype_named
from harness.interpreter.registry import impl

if TYPE_CHECKING:
    from torch import Tensor

    from harness.interpreter.context import Context
    from harness.interpreter.registry import Ints, List, Parts


@impl("select", moves=True)
def select(cond: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return ``a`` where ``cond``, else ``b``, broadcast."""
    return torch.where(cond.bool(), a, b)


@impl("make_list", moves=True)
def make_list(
    ctx: Context, elem_shape: Parts, init_length: int = 1, *, dynamic_length: bool = True, dtype: str = "fp32"
) -> List:
    """Return a list of ``init_length`` zeros; a symbolic dimension is unknown until the first write."""
    del dynamic_length  # a list here grows whenever it is written past its end
    known = [dim if isinstance(dim, int) else 0 for dim in elem_shape]
    zero = torch.zeros(known, dtype=ctx.policy.stored_dtype(dtype_named(dtype)))
    return [zero] * init_length


@impl("list_length", moves=True)
def list_length(ls: List) -> Tensor:
    """Return the number of elements."""
    return torch.tensor(len(ls), dtype=torch.int32)


@impl("list_write", moves=True)
def list_write(ls: List, index: int, value: Tensor) -> List:
    """Return a list whose element ``index`` is ``value``, lengthened to hold it."""
    return _written(ls, {index: value})


@impl("list_read", moves=True)
def list_read(ls: List, index: int) -> Tensor:
    """Element ``index``."""
    return ls[index]


@impl("list_gather", moves=True)
def list_gather(ls: List, indices: Ints) -> Tensor:
    """Return the elements at ``indices``, stacked."""
    return torch.stack([ls[index] for index in indices])


@impl("list_scatter", moves=True)
def list_scatter(ls: List, indices: Ints, value: Tensor) -> List:
    """Return a list whose elements at ``indices`` are the slices of ``value``, lengthened to hold them."""
    return _written(ls, dict(zip(indices, value.unbind(0), strict=True)))


def _written(ls: List, changes: dict[int, Tensor]) -> List:
    some = next(iter(changes.values()), ls[0] if ls else torch.zeros(()))
    blank = torch.zeros_like(some)
    length = max(len(ls), max(changes, default=-1) + 1)
    current = [*ls, *[blank] * (length - len(ls))]
    return [changes.get(i, blank if item.shape != some.shape else item) for i, item in enumerate(current)]
