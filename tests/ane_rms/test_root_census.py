"""No root over squares is silent: each is part of a norm or a miss, counted without the grammar."""

from __future__ import annotations

import coremltools as ct
import pytest
import torch

import ane_rms
from ane_rms.scan import scan
from harness.convert.conversion import convert
from harness.export import export
from harness.plan.variants import VARIANTS
from harness.zoo import catalog
from tests.ane_rms.libraries import CASES, Form
from tests.ane_rms.root_census import roots_over_squares, uncovered_roots
from tests.ane_rms.spellings import LOOK_ALIKES, SPELLINGS
from tests.mil_tools import Norm, inputs, options, torch_program

pytestmark = pytest.mark.slow

SHAPE = (1, 64, 64)  # one spelling broadcasts a mean without its axis against the rows
WRITTEN = {**SPELLINGS, **LOOK_ALIKES}


def covered(model, axes):
    program = model._mil_program
    return uncovered_roots(program, scan(program, any_axes=axes == "any")) == []


@pytest.mark.parametrize("units", [ct.ComputeUnit.CPU_ONLY, ct.ComputeUnit.CPU_AND_NE], ids=lambda one: one.name)
@pytest.mark.parametrize("name", WRITTEN)
def test_every_root_of_a_spelling_is_told(name, units):
    program = torch_program(Norm(WRITTEN[name].function), SHAPE)
    model = ane_rms.convert(program, inputs=inputs(SHAPE), **options(units))
    assert covered(model, "last")


@pytest.mark.parametrize("name", CASES)
def test_every_root_of_a_library_is_told(name):
    case = CASES[name]
    example = tuple(torch.randn(case.shape, generator=torch.Generator().manual_seed(1)) for _ in range(case.inputs))
    program = torch.jit.trace(Form(case.function, case.weight).eval(), example)
    given = [ct.TensorType(f"x{at}", case.shape) for at in range(case.inputs)]
    assert covered(ct.convert(program, inputs=given, **options(ct.ComputeUnit.CPU_ONLY)), case.axes)


@pytest.mark.parametrize("variant", ["off", "on"])
@pytest.mark.parametrize("key", sorted(catalog.load_zoo()))
def test_every_root_of_the_zoo_is_told(key, variant):
    model = convert(export(catalog.load_zoo()[key]), VARIANTS[variant]).model
    assert covered(model, "last")
    assert variant == "on" or any(roots_over_squares(model._mil_program)) == bool(ane_rms.find(model).fused)
