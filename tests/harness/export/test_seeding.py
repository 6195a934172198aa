"""Deferred random fillings: the last one of each tensor counts, and an op that reads a tensor finds it filled."""

from __future__ import annotations

import pytest
import torch

from harness.export import seeding
from harness.export.seeding import LARGE_ELEMENTS, PIECE_ELEMENTS, Deferred

SIZE = LARGE_ELEMENTS
TOLERANCE = 5 / SIZE**0.5  # five standard errors of a mean of unit variance


@pytest.fixture
def filled(monkeypatch):
    """Return the list of the pieces that are filled."""
    pieces = []
    fill = seeding._fill
    monkeypatch.setattr(seeding, "_fill", lambda piece, *how: (pieces.append(piece.numel()), fill(piece, *how)))
    return pieces


def test_the_last_filling_counts_and_is_the_only_one(filled):
    weight = torch.empty(SIZE)
    with Deferred(0):
        weight.uniform_(3, 4)
        weight.normal_(1, 0.5)
    assert float(weight.mean()) == pytest.approx(1, abs=TOLERANCE)
    assert float(weight.std()) == pytest.approx(0.5, abs=TOLERANCE)
    assert filled == [SIZE]


def test_each_tensor_has_numbers_of_its_own_that_the_seed_decides():
    def three(seed):
        weights = [torch.empty(SIZE) for _ in range(3)]
        with Deferred(seed):
            for weight in weights:
                weight.normal_()
        return weights

    a, b, c = three(1)
    assert not torch.equal(a, b)
    assert not torch.equal(b, c)
    assert all(map(torch.equal, (a, b, c), three(1)))
    assert not torch.equal(a, three(2)[0])


def test_the_number_of_threads_changes_nothing():
    def made(threads):
        weight = torch.empty(2 * PIECE_ELEMENTS + 1)
        torch.set_num_threads(threads)
        with Deferred(0):
            weight.normal_()
        return weight

    before = torch.get_num_threads()
    try:
        assert torch.equal(made(1), made(4))
    finally:
        torch.set_num_threads(before)


def test_an_op_that_reads_finds_the_numbers():
    weight = torch.empty(SIZE)
    with Deferred(0):
        weight.uniform_(1, 2)
        total = weight.sum()
    assert float(total) == float(weight.sum())
    assert SIZE < float(total) < 2 * SIZE


def test_a_part_that_is_overwritten_stays_so():
    """A padding row, which transformers sets to zero after filling the embedding."""
    embedding = torch.nn.Parameter(torch.empty(SIZE // 64, 64))
    with Deferred(0), torch.no_grad():
        embedding.data.normal_()
        embedding.data[3].zero_()
    assert not embedding[3].any()
    assert embedding[2].all()


def test_a_tensor_that_is_dropped_is_not_filled(filled):
    head, embedding = torch.nn.Linear(64, SIZE // 64, bias=False), torch.nn.Embedding(SIZE // 64, 64)
    with Deferred(0), torch.no_grad():
        head.weight.normal_()
        embedding.weight.normal_()
        head.weight = embedding.weight
    assert filled == [SIZE]


def test_small_tensors_and_own_generators_are_filled_as_without_it():
    def two():
        torch.manual_seed(0)
        return torch.empty(100).normal_(), torch.empty(SIZE).normal_(generator=torch.Generator().manual_seed(3))

    expected = two()
    with Deferred(0):
        assert all(map(torch.equal, two(), expected))
