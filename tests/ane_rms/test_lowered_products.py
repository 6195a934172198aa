"""A layer norm of a row and its negative is never silent, whatever made the row: a norm, or a miss with its reason."""

from __future__ import annotations

import coremltools as ct
import numpy as np
import pytest
import torch
from torch.nn import functional

import ane_rms
from tests.ane_rms.finished import plain
from tests.ane_rms.root_census import doubled_rows
from tests.ane_rms.test_lowered_layouts import EXACT, INEXACT, SHAPE, D, doubled, normal
from tests.mil_tools import Norm

M = torch.rand(D, D, generator=torch.Generator().manual_seed(0)) - 0.5
BOTH = torch.cat([M, -M])


def by_primitives(x, w):
    row = functional.linear(x, BOTH)
    centred = row - row.mean(-1, keepdim=True)
    return (centred * torch.rsqrt(centred.pow(2).mean(-1, keepdim=True) + 1e-6))[..., :D] * w


PRODUCTS = {
    "a linear": lambda x, w: normal(functional.linear(x, BOTH))[..., :D] * w,
    "a linear with a bias": lambda x, w: normal(functional.linear(x, BOTH, torch.cat([w, -w])))[..., :D] * w,
    "a matrix": lambda x, w: normal(x @ BOTH.T)[..., :D] * w,
    "in turn": lambda x, w: normal(x @ torch.stack([M, -M], -1).flatten(1))[..., ::2] * w,
    "from the left": lambda x, w: normal((BOTH @ x.transpose(1, 2)).transpose(1, 2))[..., :D] * w,
    "a convolution": lambda x, w: (
        normal(functional.conv1d(x.transpose(1, 2), BOTH[..., None]).transpose(1, 2))[..., :D] * w
    ),
    "an outer product with 2 and -2": lambda x, w: (
        normal((x[..., None] @ torch.tensor([[2.0, -2.0]])).flatten(-2))[..., ::2] * w
    ),
    "primitives": by_primitives,
}
NO_HALVES = {
    "the whole row": lambda x, w: normal(doubled(x)) * w.repeat(2),
    "a middle part": lambda x, w: normal(doubled(x))[..., D // 2 : D // 2 + D] * w,
    "the whole row of a matrix": lambda x, w: normal(x @ torch.cat([torch.eye(D), -torch.eye(D)], 1)) * w.repeat(2),
}


def package(function):
    return plain(module=Norm(function).eval(), precision=ct.precision.FLOAT32)


@pytest.mark.parametrize("name", PRODUCTS)
def test_a_norm_of_a_product_is_a_miss(name):
    (miss,) = ane_rms.report(package(PRODUCTS[name])).missed
    assert miss.reason.startswith("a LayerNorm of a product and its negative, which one matrix of `")
    assert miss.broken_by_type in ("linear", "matmul", "conv")


@pytest.mark.parametrize("name", NO_HALVES)
def test_a_norm_of_which_no_half_is_taken_is_a_miss(name):
    (miss,) = ane_rms.report(package(NO_HALVES[name])).missed
    assert "of which no half is taken whole" in miss.reason
    assert miss.op_type == "layer_norm"


def test_a_beta_is_a_miss():
    def function(x, w):
        return functional.layer_norm(doubled(x), (2 * D,), w.repeat(2), w.repeat(2), 1e-6)[..., :D]

    (miss,) = ane_rms.report(package(function)).missed
    assert "adds a beta" in miss.reason


@pytest.mark.parametrize("name", [*PRODUCTS, *NO_HALVES, *EXACT, *INEXACT])
def test_every_doubled_row_is_told_by_its_values(name):
    model = package((PRODUCTS | NO_HALVES | EXACT | INEXACT)[name])
    report = ane_rms.report(model)
    x = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    rows = doubled_rows(model, {"x": x})
    assert bool(rows) == (name not in INEXACT or name in HALVES_OF_OTHERS)
    assert bool(report.lowered or report.missed) == bool(rows)


HALVES_OF_OTHERS = {
    "every second element of a concatenated row",
    "the first half of an interleaved row",
    "positions in another order",
}
"""Rows that are doubled, and of which no half is taken."""
