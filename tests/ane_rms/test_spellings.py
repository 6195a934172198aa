"""Every spelling fuses, with the right epsilon, gamma and values; every look-alike is left, with its reason."""

from __future__ import annotations

import re

import coremltools as ct
import numpy as np
import pytest
import torch

import ane_rms
from tests.ane_rms.spellings import LOOK_ALIKES, SPELLINGS, D
from tests.mil_tools import NE, Norm, inputs, op_counts, options, predict, regimes, rms_norm64, torch_program

SHAPE = (2, 8, D)
FRONTENDS = ("trace", "export")
FLOAT32_ROUNDING = 2e-6
"""A few roundings of float32 (6e-8), through a mean over 64 squares."""


def converted(function, frontend, shape=SHAPE, **more):
    program = torch_program(Norm(function), shape, frontend)
    return ane_rms.convert(
        program, inputs=inputs(shape), **options(NE, minimum_deployment_target=ct.target.iOS17, **more)
    )


@pytest.mark.parametrize("frontend", FRONTENDS)
@pytest.mark.parametrize("name", SPELLINGS)
def test_a_spelling_fuses_to_the_same_values(name, frontend, ledger):
    case = SPELLINGS[name]
    model = converted(case.function, frontend, compute_precision=ct.precision.FLOAT32)
    report = ane_rms.report(model)

    assert [site.spelling for site in report.fused] == [case.found]
    assert report.missed == ()
    (site,) = report.fused
    assert site.epsilon == pytest.approx(case.epsilon, rel=1e-6, abs=0.0)
    assert (site.has_gamma, site.axes, site.shape) == (case.has_gamma, (-1,), SHAPE)
    assert (site.deviation_bound == 0) is case.exact
    counts = op_counts(model)
    counts.pop("identity", None)  # coremltools names an output that is another value's with one
    assert counts == {"mul": 2 if case.has_gamma else 1, "concat": 1, "layer_norm": 1, "slice_by_index": 1}

    x = regimes(SHAPE)
    weight = Norm(case.function).weight
    gamma = case.gamma(weight.double()).numpy() if case.has_gamma else None
    expected = rms_norm64(x, gamma, case.epsilon)
    actual = predict(model, x)
    defined = ~np.isnan(expected)
    np.testing.assert_allclose(actual[defined], expected[defined], rtol=FLOAT32_ROUNDING, atol=FLOAT32_ROUNDING)
    ledger.note("spelling", name, frontend, f"fused: {site.spelling}")


@pytest.mark.parametrize("name", [name for name, case in SPELLINGS.items() if not case.exact])
def test_an_inexact_spelling_stays_within_its_stated_bound(name):
    case = SPELLINGS[name]
    module = Norm(case.function)
    model = converted(case.function, "trace", compute_precision=ct.precision.FLOAT32)
    (site,) = ane_rms.report(model).fused
    rng = np.random.default_rng(0)
    for rms in (0.011, 0.1, 1.0, 100.0):
        x = rng.standard_normal(SHAPE).astype(np.float32)
        x *= rms / np.sqrt((x**2).mean(-1, keepdims=True))
        written = module(torch.from_numpy(x)).numpy()
        by_row = np.linalg.norm(predict(model, x) - written, axis=-1) / np.linalg.norm(written, axis=-1)
        assert by_row.max() <= site.deviation_bound + FLOAT32_ROUNDING


@pytest.mark.parametrize("frontend", FRONTENDS)
@pytest.mark.parametrize("name", LOOK_ALIKES)
def test_a_look_alike_is_left_as_it_is_with_the_reason(name, frontend, ledger):
    case = LOOK_ALIKES[name]
    program = torch_program(Norm(case.function), case.shape, frontend)
    arguments = options(NE, minimum_deployment_target=ct.target.iOS17)
    model = ane_rms.convert(program, inputs=inputs(case.shape), **arguments)
    plain = ct.convert(program, inputs=inputs(case.shape), **arguments)
    report = ane_rms.report(model)

    assert report.fused == ()
    assert op_counts(model) == op_counts(plain)
    if case.reason:
        (miss,) = report.missed
        assert re.search(case.reason, miss.reason)
        assert miss.name
        assert miss.op_type in ("sqrt", "rsqrt", "pow", "reduce_l2_norm")
    else:
        assert report.missed == ()
    ledger.note("look-alike", name, frontend, f"left: {report.missed[0].reason}" if case.reason else "left: no site")


def test_a_weight_stored_in_half_precision_fuses_through_the_cast():
    weight = (torch.rand(D, generator=torch.Generator().manual_seed(3)) + 0.5).half()

    def norm(x, w):
        h = x.half().float()
        return w * (h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + 1e-6)).half()

    program = torch_program(Norm(norm, weight), SHAPE)
    model = ane_rms.convert(program, inputs=inputs(SHAPE), **options(NE, minimum_deployment_target=ct.target.iOS17))
    (site,) = ane_rms.report(model).fused
    assert site.has_gamma
    x = regimes(SHAPE)[:, :1]
    expected = rms_norm64(x.astype(np.float16), weight.numpy(), 1e-6)
    actual = predict(model, np.repeat(x, 8, axis=1), "fp16")[:, :1]
    np.testing.assert_allclose(actual, expected, rtol=2e-3, atol=1e-3)  # a few roundings of float16 (4.9e-4)
