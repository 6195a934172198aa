"""Sums in float16, term by term, vectorised over everything that is not summed.

A term is a whole tensor: the k-th slice of a reduction, the k-th outer product of a matmul. Terms are float32
(a product of two float16 numbers is exact there); after every addition the running sum is rounded to float16,
to nearest even. The error of such sums is analysed in Higham, *Accuracy and Stability of Numerical
Algorithms*, chapter 4: proportional to n for one running sum, to log2 n for a pairwise one.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

RUN = 16
"""Terms in one run of the blocked order."""


def round_fp16(value: torch.Tensor) -> torch.Tensor:
    """Round to float16 and come back to float32."""
    return value.half().float()


def sequential(terms: Iterable[torch.Tensor]) -> torch.Tensor:
    """Add the terms one after the other, rounding the running sum to float16 after each."""
    iterator = iter(terms)
    total = round_fp16(next(iterator))
    for term in iterator:
        total = round_fp16(total + term)
    return total


def blocked(terms: Iterable[torch.Tensor]) -> torch.Tensor:
    """Sum runs of 16 terms sequentially, then the partial sums pairwise, all in float16.

    Partial sums of equal weight are merged as soon as both exist, like the carries of a binary counter, so no
    more than log2(n / 16) of them are alive.
    """
    partials: list[tuple[int, torch.Tensor]] = []
    for run in _runs(iter(terms)):
        weight, total = 0, run
        while partials and partials[-1][0] == weight:
            total = round_fp16(partials.pop()[1] + total)
            weight += 1
        partials.append((weight, total))
    total = partials.pop()[1]
    while partials:
        total = round_fp16(partials.pop()[1] + total)
    return total


def _runs(terms: Iterator[torch.Tensor]) -> Iterator[torch.Tensor]:
    for first in terms:
        yield sequential(itertools.chain([first], itertools.islice(terms, RUN - 1)))


ORDERS = {"fp16-sequential": sequential, "fp16-blocked": blocked}


def total(value: torch.Tensor, dims: tuple[int, ...], order: str) -> torch.Tensor:
    """Sum ``value`` over ``dims``, which stay with length 1, in float16 and in that order.

    Terms of several dims are taken in row-major order.
    """
    kept = [d for d in range(value.dim()) if d not in dims]
    shape = [1 if d in dims else value.shape[d] for d in range(value.dim())]
    terms = value.float().permute(*dims, *kept).reshape(-1, *(value.shape[d] for d in kept))
    if terms.shape[0] == 0:
        return torch.zeros(shape)
    return ORDERS[order](terms.unbind(0)).reshape(shape)


def matmul(x: torch.Tensor, y: torch.Tensor, order: str) -> torch.Tensor:
    """Multiply ``[..., M, K]`` by ``[..., K, N]``, accumulating the K products in float16 and that order."""
    depth = x.shape[-1]
    if depth == 0:
        return torch.matmul(x.float(), y.float())
    left, right = x.float(), y.float()
    return ORDERS[order](left[..., :, k, None] * right[..., None, k, :] for k in range(depth))


def cumulative(value: torch.Tensor, dim: int) -> torch.Tensor:
    """Return the running sums along ``dim``, each rounded to float16."""
    sums = itertools.accumulate(value.float().unbind(dim), lambda running, term: round_fp16(running + term))
    return torch.stack([round_fp16(s) for s in sums], dim)
