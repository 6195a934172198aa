"""Norms that stand lowered: by hand in every spelling, and by every lowering of this project, re-read."""

from __future__ import annotations

from pathlib import Path

import coremltools as ct
import numpy as np
import pytest
import torch
from coremltools.converters.mil.mil import Builder as mb
from coremltools.converters.mil.mil import types
from torch.nn import functional

import ane_rms
from ane_rms.package.graph import program_view
from ane_rms.package.weights import Weights
from ane_rms.passes.strategies import STRATEGIES
from ane_rms.scan import scan
from tests.ane_rms.spellings import SPELLINGS
from tests.mil_tools import NE, Norm, inputs, options, torch_program

D = 64
SHAPE = (2, 8, D)


def doubled_norm(x, *, negated_first=False, gamma=None, beta=None, epsilon=1e-6):
    width = x.shape[-1]
    row = torch.cat([-x, x] if negated_first else [x, -x], -1)
    given = [None if one is None else torch.cat([one, one]) for one in (gamma, beta)]
    return functional.layer_norm(row, (2 * width,), *given, epsilon)


def by_primitives(x, w):
    row = torch.cat([x, -x], -1)
    centred = row - row.mean(-1, keepdim=True)
    return (centred * torch.rsqrt(centred.pow(2).mean(-1, keepdim=True) + 1e-6))[..., :D] * w


def along_channels(x, w):
    image = x.transpose(1, 2).unsqueeze(2)
    row = torch.cat([image, -image], 1)
    normal = functional.layer_norm(row.permute(0, 2, 3, 1), (2 * D,), None, None, 1e-6).permute(0, 3, 1, 2)
    return (normal[:, :D] * w.reshape(1, D, 1, 1)).squeeze(2)


def scaled_each(x, w):
    row = torch.cat([x * 0.125, x * -0.125], -1)
    return functional.layer_norm(row, (2 * D,), None, None, 1e-6)[..., :D] * w


def over_largest(x, w):
    largest = x.abs().amax(-1, keepdim=True)
    return functional.layer_norm(torch.cat([x / largest, -x / largest], -1), (2 * D,), None, None, 1e-6)[..., :D] * w


def over_channels(x, w):
    """Apple's ml-ane-transformers, ``LayerNormANE``: channels first, the gain over the whole doubled axis."""
    image = x.transpose(1, 2).unsqueeze(2)
    row = torch.cat([image, -image], 1)
    centred = row - row.mean(1, keepdim=True)
    normal = centred * ((centred * centred).mean(1, keepdim=True) + 1e-6).rsqrt()
    return (normal * torch.cat([w, w]).view(1, -1, 1, 1))[:, :D].squeeze(2)


BY_HAND = {
    "each half scaled": scaled_each,
    "each half over the largest magnitude": over_largest,
    "channels first, the gain over the doubled axis": over_channels,
    "gamma over the doubled row": lambda x, w: (doubled_norm(x) * torch.cat([w, w]))[..., :D],
    "divided by gamma": lambda x, w: doubled_norm(x)[..., :D] / w,
    "slice": lambda x, w: doubled_norm(x)[..., :D] * w,
    "slice from the back": lambda x, w: doubled_norm(x)[..., :-D] * w,
    "chunk": lambda x, w: torch.chunk(doubled_norm(x), 2, -1)[0] * w,
    "split": lambda x, w: w * torch.split(doubled_norm(x), [D, D], -1)[0],
    "narrow": lambda x, w: doubled_norm(x).narrow(-1, 0, D) * w,
    "negated first, second half": lambda x, w: doubled_norm(x, negated_first=True)[..., D:] * w,
    "negated first, first half": lambda x, w: doubled_norm(x, negated_first=True)[..., :D] * w,
    "second half": lambda x, w: torch.chunk(doubled_norm(x), 2, -1)[1] * w,
    "gamma inside": lambda x, w: doubled_norm(x, gamma=w)[..., :D],
    "primitives": by_primitives,
    "along channels": along_channels,
}


@pytest.mark.parametrize("name", BY_HAND)
def test_a_norm_lowered_by_hand_is_reported_as_one(name):
    program = torch_program(Norm(BY_HAND[name]), SHAPE)
    arguments = options(NE, minimum_deployment_target=ct.target.iOS17)
    model = ane_rms.convert(program, inputs=inputs(SHAPE), **arguments)
    for report in (ane_rms.report(model), _of_structure(model)):
        assert (report.fused, report.missed) == ((), ())
        (site,) = report.lowered
        assert site.epsilon == pytest.approx(1e-6, rel=1e-3)
        assert site.has_gamma
        assert site.form.startswith("layer_norm")
    assert ("affine" in site.form) == (name == "gamma inside")


LOOK_ALIKES = {
    "a layer norm of other rows": lambda x, w: functional.layer_norm(torch.cat([x, x], -1), (2 * D,))[..., :D] * w,
    "a beta": lambda x, w: doubled_norm(x, gamma=w, beta=w)[..., :D],
    "a middle part": lambda x, w: doubled_norm(x)[..., D // 2 : D // 2 + D] * w,
    "another axis": lambda x, w: functional.layer_norm(torch.cat([x, -x], 1), (D,))[:, :8] * w,
    "halves of two values": lambda x, w: functional.layer_norm(torch.cat([x, -2 * x], -1), (2 * D,))[..., :D] * w,
}


@pytest.mark.parametrize("name", LOOK_ALIKES)
def test_what_only_looks_lowered_is_not_reported(name):
    program = torch_program(Norm(LOOK_ALIKES[name]), SHAPE)
    model = ane_rms.convert(program, inputs=inputs(SHAPE), **options(NE, minimum_deployment_target=ct.target.iOS17))
    assert ane_rms.report(model).lowered == ()
    assert _of_structure(model).lowered == ()


@pytest.mark.parametrize("axis", [1, 3])
def test_the_axis_may_be_any(axis):
    @mb.program(input_specs=[mb.TensorSpec((1, 16, 1, 16), dtype=types.fp32)], opset_version=ct.target.iOS18)
    def program(x):
        row = mb.concat(values=[x, mb.sub(x=0.0, y=x)], axis=axis)
        normal = mb.layer_norm(x=row, axes=[axis], epsilon=1e-5)
        size = [1, 16, 1, 16]
        kept = mb.slice_by_size(x=normal, begin=[0, 0, 0, 0], size=size)
        return mb.mul(
            x=kept, y=np.linspace(0.5, 1.5, 16, dtype=np.float32).reshape([16 if i == axis else 1 for i in range(4)])
        )

    (site,) = ane_rms.find(program).lowered
    assert (site.axes, site.epsilon, site.has_gamma, site.shape) == ((axis - 4,), 1e-5, True, (1, 16, 1, 16))


@pytest.mark.parametrize(("target", "precision"), [("iOS15", "FLOAT32"), ("iOS15", "FLOAT16"), ("iOS18", "FLOAT16")])
@pytest.mark.parametrize("lowering", STRATEGIES)
def test_a_program_of_ours_read_again_holds_the_sites_that_were_fused(lowering, target, precision):
    def two(x, w):
        return SPELLINGS["A: gamma * (...).to"].function(x, w) + SPELLINGS["E: no gamma (Llama4 L2Norm)"].function(
            2 * x, w
        )

    arguments = options(NE, minimum_deployment_target=ct.target[target], compute_precision=ct.precision[precision])
    program = torch_program(Norm(two), SHAPE)
    model = ane_rms.convert(program, inputs=inputs(SHAPE), lowering=lowering, **arguments)
    told, held = ane_rms.report(model), _of_structure(model)
    sites = held.fused if lowering == "none" else held.lowered
    assert (len(told.fused), len(sites)) == (2, 2)
    assert (held.fused if lowering != "none" else held.lowered, held.missed) == ((), ())
    for before, after in zip(told.fused, sites, strict=True):
        assert (after.shape, after.axes, after.has_gamma) == (before.shape, before.axes, before.has_gamma)
        assert after.epsilon == pytest.approx(before.epsilon, rel=2e-3)
        if lowering != "none" and (after.has_gamma or lowering != "layer_norm_affine"):
            assert after.form == ("layer_norm" if lowering == "auto" else lowering)


def _of_structure(model):
    folder = Path(model.weights_dir).parent
    return scan(program_view(model.get_spec().mlProgram, Weights(folder, "model")), any_axes=True).report()
