"""Norms lowered by hand whose row and halves are joined, regrouped and taken apart in other ways than concat and slice.

Each function is an exact RMSNorm of x with gamma w and epsilon 1e-6.
"""

from __future__ import annotations

from dataclasses import replace

import coremltools as ct
import numpy as np
import pytest
import torch
from torch.nn import functional

import ane_rms
from ane_rms.package.files import open_model
from ane_rms.package.weights import Weights
from ane_rms.reading import of_opened
from tests.ane_rms.finished import plain, rel_l2, run
from tests.mil_tools import Norm, rms_norm64

D = 64
SHAPE = (2, 8, D)
EPSILON = 1e-6


def normal(row, axes=(2 * D,)):
    return functional.layer_norm(row, axes, None, None, EPSILON)


def by_variance(row, *, unbiased=False):
    """Normalise by torch's variance; with one element less in the divisor, the factor and epsilon make up for it."""
    factor = 2 * D / (2 * D - 1) if unbiased else 1.0
    variance = row.var(-1, keepdim=True, unbiased=unbiased)
    return factor**0.5 * (row - row.mean(-1, keepdim=True)) / torch.sqrt(variance + EPSILON * factor)


def doubled(x):
    return torch.cat([x, -x], -1)


def regrouped_around(x, w):
    row = doubled(x).reshape(4, 4, 2 * D)
    return normal(row).reshape(2, 8, 2 * D)[..., :D] * w


def transposed_row(x, w):
    row = torch.stack([x, -x], -1).transpose(-1, -2)
    return normal(row, (2, D)).select(-2, 0) * w


def pairs_split_and_joined(x, w):
    row = doubled(x).reshape(2, 8, 2, 4, D // 4).permute(0, 1, 3, 2, 4)
    last = functional.layer_norm(row, (4, 2, D // 4), None, None, EPSILON)
    return last[..., 0, :].flatten(-2) * w


def grouped(x, w):
    flat = doubled(x).reshape(-1, 2 * D)
    return functional.group_norm(flat, 1, None, None, EPSILON)[:, :D].reshape(x.shape) * w


def signs(first=1.0):
    return torch.tensor([first, -first])


def half_ones():
    return signs().repeat_interleave(D)


def matrix(first=1.0):
    return torch.cat([first * torch.eye(D), -first * torch.eye(D)])


def by_convolution(x, w):
    row = functional.conv1d(x.transpose(1, 2), matrix()[..., None])
    return normal(row.transpose(1, 2))[..., :D] * w


def from_the_left(x, w):
    return normal((matrix() @ x.transpose(1, 2)).transpose(1, 2))[..., :D] * w


def by_instances(x, w):
    return functional.instance_norm(doubled(x).reshape(1, 16, 2 * D), eps=EPSILON).reshape(2, 8, 2 * D)[..., :D] * w


EXACT = {
    "times 1 and -1, flatten": lambda x, w: normal((x[..., None, :] * signs()[:, None]).flatten(-2))[..., :D] * w,
    "times -1 and 1": lambda x, w: normal((x[..., None, :] * signs(-1.0)[:, None]).flatten(-2))[..., D:] * w,
    "times 1 and -1, an axis of its own": lambda x, w: normal(x[..., None] * signs(), (D, 2))[..., 0] * w,
    "over 1 and -1": lambda x, w: normal((x[..., None, :] / signs()[:, None]).flatten(-2))[..., :D] * w,
    "repeated, times signs": lambda x, w: normal(x.repeat(1, 1, 2) * half_ones())[..., :D] * w,
    "joined with itself, times signs": lambda x, w: normal(torch.cat([x, x], -1) * half_ones())[..., :D] * w,
    "each element twice, times signs": lambda x, w: (
        normal(x.repeat_interleave(2, -1) * signs().repeat(D))[..., ::2] * w
    ),
    "the negated half, times gamma": lambda x, w: normal(x.repeat(1, 1, 2) * half_ones())[..., D:] * -w,
    "the negated half, negated": lambda x, w: -w * normal(x.repeat(1, 1, 2) * half_ones())[..., D:],
    "instance norm of each row": by_instances,
    "stack, flatten": lambda x, w: normal(torch.stack([x, -x], -2).flatten(-2))[..., :D] * w,
    "stack, flatten, every second": lambda x, w: normal(torch.stack([x, -x], -1).flatten(-2))[..., ::2] * w,
    "stack, flatten, every second from 1": lambda x, w: normal(torch.stack([-x, x], -1).flatten(-2))[..., 1::2] * w,
    "stack over two axes": lambda x, w: normal(torch.stack([x, -x], -2), (2, D))[..., 0, :] * w,
    "stack, transpose": transposed_row,
    "unflatten, select": lambda x, w: normal(doubled(x)).unflatten(-1, (2, D)).select(-2, 0) * w,
    "unflatten, unbind": lambda x, w: normal(doubled(-x)).unflatten(-1, (2, D)).unbind(-2)[1] * w,
    "index_select": lambda x, w: normal(doubled(x)).index_select(-1, torch.arange(D)) * w,
    "index_select of the second half": lambda x, w: normal(doubled(-x)).index_select(-1, torch.arange(D, 2 * D)) * w,
    "index by a constant": lambda x, w: normal(doubled(x))[..., torch.arange(D)] * w,
    "gamma in the stack": lambda x, w: functional.layer_norm(
        torch.stack([x, -x], -1), (D, 2), torch.stack([w, w], -1), None, EPSILON
    )[..., 0],
    "rows regrouped around the norm": regrouped_around,
    "parts of the row permuted": pairs_split_and_joined,
    "group_norm of one group": grouped,
    "unsqueezed halves": lambda x, w: normal(torch.cat([x[..., None, :], -x[..., None, :]], -2), (2, D))[..., 0, :] * w,
    "variance": lambda x, w: by_variance(doubled(x))[..., :D] * w,
    "unbiased variance": lambda x, w: by_variance(doubled(x), unbiased=True)[..., :D] * w,
    "taken twice, times signs": lambda x, w: (
        normal(x.index_select(-1, torch.arange(D).repeat(2)) * half_ones())[..., :D] * w
    ),
    "each taken twice, times signs": lambda x, w: (
        normal(x.index_select(-1, torch.arange(D).repeat_interleave(2)) * signs().repeat(D))[..., ::2] * w
    ),
    "a matrix for each of a batch": lambda x, w: normal(x @ matrix().T.expand(2, -1, -1).clone())[..., :D] * w,
    "a matrix": lambda x, w: normal(x @ matrix().T)[..., :D] * w,
    "a linear, the negative first": lambda x, w: normal(functional.linear(x, matrix(-1.0)))[..., D:] * w,
    "a linear, the negated half": lambda x, w: normal(functional.linear(x, matrix(-1.0)))[..., :D] * -w,
    "a matrix, in turn": lambda x, w: (
        normal(x @ torch.stack([matrix()[:D], matrix()[D:]], -1).flatten(1))[..., ::2] * w
    ),
    "an outer product": lambda x, w: normal((x[..., None] @ signs()[None]).flatten(-2))[..., ::2] * w,
    "an einsum": lambda x, w: normal(torch.einsum("bld,s->blsd", x, signs()).flatten(-2))[..., :D] * w,
    "a convolution": by_convolution,
    "a matrix from the left": from_the_left,
    "both halves": lambda x, w: 0.5 * torch.sub(*normal(doubled(x)).chunk(2, -1)) * w,
}


@pytest.fixture(scope="module", params=EXACT)
def package(request):
    """Return a plain float32 package of one norm in one of these layouts."""
    return plain(module=Norm(EXACT[request.param]).eval(), precision=ct.precision.FLOAT32)


def test_a_norm_lowered_in_another_layout_is_counted_once(package):
    report = ane_rms.report(package)
    assert (report.fused, report.missed) == ((), ())
    assert [site.epsilon for site in report.lowered] == [pytest.approx(EPSILON, rel=1e-3)]


OMITTED = {"concat": "interleave", "conv": "groups", "gather": "batch_dims", "matmul": "transpose_y"}
"""Inputs of ops that other tools omit where they have MIL's default."""


def test_omitted_inputs_have_their_defaults(package):
    opened = open_model(package)
    spec = type(opened.spec)()
    spec.CopyFrom(opened.spec)
    (main,) = spec.mlProgram.functions.values()
    (block,) = main.block_specializations.values()
    values = {op.outputs[0].name: op.attributes["val"] for op in block.operations if op.type == "const"}
    for op in block.operations:
        name = OMITTED.get(op.type, "")
        bound = op.inputs[name].arguments[0].name if name in op.inputs else ""
        if bound and Weights(opened.folder, "").value(values[bound]) == (op.type == "conv"):
            del op.inputs[name]
    report = of_opened(replace(opened, spec=spec), None)
    assert (len(report.lowered), report.missed) == (1, ())


def test_a_norm_lowered_in_another_layout_keeps_its_values_in_another_lowering(package):
    done = ane_rms.rewrite(package, lowering="max_abs", skip_model_load=True)
    x = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    expected = rms_norm64(x, Norm(normal).weight.numpy(), EPSILON)
    assert rel_l2(run(done, x, "fp32"), expected) < 1e-5
    assert [site.form for site in ane_rms.report(done).lowered] == []


INEXACT = {
    "signs in another order than the copies": lambda x, w: normal(x.repeat(1, 1, 2) * signs().repeat(D))[..., :D] * w,
    "the same sign twice": lambda x, w: normal(x.repeat(1, 1, 2) * half_ones().abs())[..., :D] * w,
    "a matrix of twice the negative": lambda x, w: normal(x @ (matrix().T * (1.5 - half_ones() / 2)))[..., :D] * w,
    "signs by row": lambda x, w: normal(x.repeat(1, 1, 2) * signs().view(2, 1, 1))[..., :D] * w,
    "signs and a scale": lambda x, w: normal(x.repeat(1, 1, 2) * half_ones() * (1.5 + half_ones()))[..., :D] * w,
    "every second element of a concatenated row": lambda x, w: normal(doubled(x))[..., ::2] * w,
    "the first half of an interleaved row": lambda x, w: normal(torch.stack([x, -x], -1).flatten(-2))[..., :D] * w,
    "normalised without its negative": lambda x, w: normal(torch.stack([x, -x], -2), (D,))[..., 0, :] * w,
    "half the row at a time": lambda x, w: normal(doubled(x).reshape(2, 16, D), (D,)).reshape(2, 8, 2 * D)[..., :D] * w,
    "positions in another order": lambda x, w: normal(doubled(x))[..., torch.arange(D - 1, -1, -1)] * w,
}


@pytest.mark.parametrize("name", INEXACT)
def test_a_layout_of_other_elements_is_no_lowered_norm(name):
    package = plain(module=Norm(INEXACT[name]).eval(), precision=ct.precision.FLOAT32)
    assert ane_rms.report(package).lowered == ()
