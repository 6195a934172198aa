"""RMSNorm as other libraries write it: fused where it is one, refused with a reason elsewhere, torch's values."""

from __future__ import annotations

import copy
import re

import coremltools as ct
import numpy as np
import pytest
import torch

import ane_rms
from ane_rms.grammar import RMS_FLOOR
from harness.export.frontends import run
from harness.interpreter import ReferenceModel
from tests.ane_rms.libraries import CASES, Form
from tests.mil_tools import NE, options, regimes

FLOAT32_ROUNDING = 4e-6
"""A few roundings of float32 (6e-8) through sums of 128 squares, casts and gates."""
FLOAT16_ROUNDING = 1.5e-3
"""Three roundings of float16 (4.9e-4): of the normalised value, of its product with gamma, of a gate."""
TINY = 1e-3
"""Rows smaller than this are compared absolutely."""
RESIDUAL = ("residual_first", "global_response", "l2_of_delta_rule")
"""Functions whose result carries the input itself, whose rounding scales with it."""


def names(count):
    return [f"x{i}" for i in range(count)]


def seeded(module):
    """Give every parameter values around 1, which no optimisation can drop."""
    generator = torch.Generator().manual_seed(7)
    for parameter in module.parameters():
        parameter.data.copy_(torch.rand(parameter.shape, generator=generator) + 0.5)
    return module.eval().requires_grad_(False)


def convert(module, shapes, frontend, *, dtype=torch.float32, **more):
    example = tuple(torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(dtype) for shape in shapes)
    program = run(frontend, module, example)
    kind = np.float16 if dtype == torch.float16 else np.float32
    types = [ct.TensorType(name, shape, dtype=kind) for name, shape in zip(names(len(shapes)), shapes, strict=True)]
    return ane_rms.convert(program, inputs=types, **options(NE, minimum_deployment_target=ct.target.iOS17, **more))


def values(shapes):
    """Return rows of every regime for the first input, N(0, 1) for the others."""
    rng = np.random.default_rng(3)
    return [regimes(shapes[0])] + [rng.standard_normal(shape).astype(np.float32) for shape in shapes[1:]]


def predict(model, given, precision="fp32"):
    reference = ReferenceModel(model, precision=precision)
    fed = {one.value.name: array for one, array in zip(reference.function.inputs, given, strict=True)}
    (result,) = reference.predict(fed).values()
    return result


@pytest.mark.parametrize("frontend", ["trace", "export"])
@pytest.mark.parametrize("name", CASES)
def test_a_form_of_another_library(name, frontend, ledger):
    case = CASES[name]
    module = seeded(Form(case.function, case.weight))
    shapes = [case.shape] * case.inputs
    model = convert(module, shapes, frontend, compute_precision=ct.precision.FLOAT32, axes=case.axes)
    report = ane_rms.report(model)
    assert len(report.fused) == case.fused
    assert all(site.has_gamma is case.has_gamma for site in report.fused)
    assert [bool(re.search(case.missed, miss.reason)) for miss in report.missed] == ([True] if case.missed else [])
    assert all((site.deviation_bound == 0) is case.exact for site in report.fused)

    given = values(shapes)
    tensors = [torch.from_numpy(array) for array in given]
    if case.wide:
        module, tensors = copy.deepcopy(module).double(), [one.double() for one in tensors]
    expected = module(*tensors).numpy()
    scale = np.maximum(1.0, np.abs(given[0]).max(initial=0.0) if case.function.__name__ in RESIDUAL else 1.0)
    bound = FLOAT32_ROUNDING + max((site.deviation_bound for site in report.fused), default=0.0)
    actual = predict(model, given)
    if not case.exact:
        rms = np.sqrt((given[0].astype(np.float64) ** 2).mean(-1))
        stated = (rms >= RMS_FLOOR) | (rms == 0)  # the rows for which the report states a bound
        actual, expected = actual[stated], expected[stated]
    np.testing.assert_allclose(actual, expected, rtol=bound, atol=bound * scale)
    outcome = f"fused: {report.fused[0].spelling}" if case.fused else f"left: {case.missed}"
    ledger.note("library form", f"{case.library}: {name}", frontend, outcome)


NOT_IN_FLOAT16 = {
    "epsilon over d": "its epsilon, 1e-6 / 64, is below float16's smallest number: the report warns of it",
    "l2norm": "its epsilon over the width is below float16's smallest number: the report warns of it",
    "DeepSeek": "torch warns of a float32 row beside a float16 weight",
    "gamma by einsum": "coremltools does not convert an einsum of a float32 row and a float16 weight",
}
HALVES = [name for name, case in CASES.items() if case.fused and case.exact and name not in NOT_IN_FLOAT16]


@pytest.mark.parametrize("frontend", ["trace", "export"])
@pytest.mark.parametrize("name", HALVES)
def test_a_form_in_a_module_of_float16(name, frontend):
    case = CASES[name]
    module = seeded(Form(case.function, case.weight)).half()
    shapes = [case.shape] * case.inputs
    model = convert(module, shapes, frontend, dtype=torch.float16, axes=case.axes)
    assert [site.has_gamma for site in ane_rms.report(model).fused] == [case.has_gamma]
    given = [array.astype(np.float16) for array in values(shapes)]
    expected = copy.deepcopy(module).float()(*(torch.from_numpy(array).float() for array in given)).numpy()
    error = np.linalg.norm(predict(model, given, "fp16") - expected, axis=-1)
    assert np.all(error <= FLOAT16_ROUNDING * np.maximum(np.linalg.norm(expected, axis=-1), TINY))


@pytest.mark.parametrize("frontend", ["trace", "export"])
def test_zero_rows_stay_zeros_where_epsilon_is_below_float16(frontend):
    case = CASES["RMSNorm of Zhang"]
    model = convert(seeded(Form(case.function)).half(), [case.shape], frontend, dtype=torch.float16)
    (result,) = [predict(model, [np.zeros(case.shape, np.float16)], "fp16")]
    np.testing.assert_array_equal(result, 0.0)
