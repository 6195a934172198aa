"""A network in which some kind of value exceeds float16 computes in float16 after a rescale by its peaks."""

from __future__ import annotations

import numpy as np
import pytest
from coremltools.converters.mil.mil.passes.pass_registry import PASS_REGISTRY

from ane_rms.passes.rescale import rescale_program
from ane_rms.report import kept_report
from tests.ane_rms.rescaling.constructions import CONSTRUCTIONS
from tests.ane_rms.rescaling.model_constructions import LEFT, MODEL_CONSTRUCTIONS
from tests.ane_rms.rescaling.networks import count, peaks, run

FINE = 5e-3
"""Some ten roundings of float16 (4.9e-4 each); a network that does not fit gives NaN, zeros, or 0.1 and more."""


def in_float16(program):
    """Return the logits that a program gives with float16 weights and values."""
    PASS_REGISTRY["common::add_fp16_cast"](program)
    PASS_REGISTRY["common::cast_optimization"](program)
    with np.errstate(all="ignore"):
        return run(program, "fp16")[0].astype(np.float64)


def deviation(actual, expected):
    return np.linalg.norm(actual - expected) / np.linalg.norm(expected)


ALL = CONSTRUCTIONS | MODEL_CONSTRUCTIONS


@pytest.mark.parametrize("make", ALL.values(), ids=ALL)
def test_the_values_fit_and_the_function_stays(make):
    expected = run(make().program())[0]
    assert not deviation(in_float16(make().program()), expected) < FINE, "nothing exceeds float16"
    program = make().program()
    ops = count(program)
    rescale_program(program, peaks)
    np.testing.assert_allclose(run(program)[0], expected, rtol=1e-11, atol=1e-12)
    entries = kept_report(program).rescaled
    assert count(program) <= ops + 3
    assert count(program) == ops + len({text for entry in entries for text in entry.multiplications})
    assert all(entry.factor != 1 for entry in entries)
    assert deviation(in_float16(program), expected) < FINE


@pytest.mark.parametrize(("make", "named"), LEFT.values(), ids=LEFT)
def test_what_cannot_be_closed_is_left_with_a_reason(make, named):
    program = make().program()
    text = str(program)
    rescale_program(program, peaks)
    entries = kept_report(program).rescaled
    assert entries
    assert all(entry.factor == 1 for entry in entries)
    assert any(named in entry.reason for entry in entries)
    assert str(program) == text
