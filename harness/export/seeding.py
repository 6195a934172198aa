"""Give a large network its random weights once: only the last random filling of a weight is carried out, in threads.

PyTorch's layers fill their weights when they are made, transformers fills them again, and tied weights are then
dropped: of 17 s that a Llama of 1.24e9 parameters took to make, 3 s were of numbers that remained. Inside
:class:`Deferred`, ``normal_`` and ``uniform_`` of a large tensor are noted, and a later one of the same tensor replaces
the note. A tensor that another op reads or writes is filled before that.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from typing_extensions import Self

LARGE_ELEMENTS = 1 << 18
"""Smaller tensors are filled at once."""

PIECE_ELEMENTS = 1 << 22
"""Elements filled by one thread with a generator of their own, so that the numbers do not depend on the threads."""

RANDOM = (torch.ops.aten.normal_.default, torch.ops.aten.uniform_.default)


@dataclass(frozen=True, slots=True)
class _Filling:
    """A random filling of a whole storage that has not been carried out."""

    storage: Any
    """A ``StorageWeakRef``."""
    op: Any
    bounds: tuple[float, ...]
    """Mean and standard deviation, or the ends of the interval."""
    dtype: torch.dtype
    seed: tuple[int, int]
    """The network's seed, and the number of the filling."""

    def pieces(self) -> Iterator[tuple[torch.Tensor, Any, tuple[float, ...], int]]:
        """Yield the parts to fill; none if the tensor is gone."""
        types: Any = torch.UntypedStorage
        storage = types._new_with_weak_ptr(self.storage.cdata)  # noqa: SLF001 - as torch.multiprocessing does
        if storage is None:
            return
        whole: Any = torch.empty(0, dtype=self.dtype).set_(storage)
        for number, piece in enumerate(whole.split(PIECE_ELEMENTS)):
            seed = np.random.SeedSequence((*self.seed, number)).generate_state(1)  # torch takes 32 bits of a seed
            yield piece, self.op, self.bounds, int(seed[0])


def _fill(piece: torch.Tensor, op: Any, bounds: tuple[float, ...], seed: int) -> None:
    with torch.no_grad():
        op(piece, *bounds, generator=torch.Generator().manual_seed(seed))


class Deferred(TorchDispatchMode):
    """Carry out, at the end of a ``with`` block, the last random filling of each large tensor that still exists.

    Only fillings of a whole tensor by the default generator are deferred.

    Parameters
    ----------
    seed: decides the numbers, with the order of the fillings.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._seed, self._number = seed, 0
        self._waiting: dict[int, _Filling] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Note a random filling; before any other op, fill the tensors that it is given."""
        kwargs = kwargs or {}
        if func in RANDOM and _is_whole(args[0]) and kwargs.get("generator") is None:
            self._note(func, *args)
            return args[0]
        if self._waiting and not _only_views(func):
            for one in tree_leaves((args, kwargs)):
                if isinstance(one, torch.Tensor):
                    self._carry_out([self._taken(one)])
        return func(*args, **kwargs)

    def __enter__(self) -> Self:
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        waiting, self._waiting = list(self._waiting.values()), {}
        self._carry_out(waiting)

    def _note(self, op: Any, tensor: torch.Tensor, low: float = 0.0, high: float = 1.0) -> None:
        self._number += 1
        storage = _weak(tensor)
        self._waiting[storage.cdata] = _Filling(storage, op, (low, high), tensor.dtype, (self._seed, self._number))

    def _taken(self, tensor: torch.Tensor) -> _Filling | None:
        return self._waiting.pop(_weak(tensor).cdata, None)

    def _carry_out(self, fillings: Sequence[_Filling | None]) -> None:
        pieces = [piece for filling in fillings if filling is not None for piece in filling.pieces()]
        if pieces:
            with ThreadPoolExecutor(torch.get_num_threads()) as threads:
                list(threads.map(lambda piece: _fill(*piece), pieces))


def _weak(tensor: torch.Tensor) -> Any:
    """Return a weak reference to a tensor's storage; no other storage gets its ``cdata`` while the reference lives."""
    reference: Any = StorageWeakRef
    return reference(tensor.untyped_storage())


def _is_whole(tensor: torch.Tensor) -> bool:
    """Return whether a tensor is large and all of its storage."""
    size_bytes = tensor.numel() * tensor.element_size()
    large = tensor.device.type == "cpu" and tensor.numel() >= LARGE_ELEMENTS and tensor.is_contiguous()
    return large and tensor.untyped_storage().nbytes() == size_bytes


def _only_views(op: Any) -> bool:
    """Return whether an op gives views of its tensors and reads none of their elements."""
    aliases = [returned.alias_info for returned in op._schema.returns]  # noqa: SLF001 - the only way to the schema
    return bool(aliases) and all(alias is not None and not alias.is_write for alias in aliases)
