"""States: made, read, updated, and kept apart."""

from __future__ import annotations

from typing import Any

import coremltools as ct
import numpy as np
import pytest
from coremltools.converters.mil.mil import Builder as mb
from coremltools.converters.mil.mil import types

from harness.errors import InputError, UnknownNameError
from harness.interpreter import ReferenceModel


@pytest.fixture(scope="module")
def counter() -> Any:
    """Return a program that adds its input to a state and returns the sum."""

    @mb.program(
        input_specs=[mb.TensorSpec((3,), dtype=types.fp16), mb.StateTensorSpec((3,), dtype=types.fp16)],
        opset_version=ct.target.iOS18,
    )
    def prog(x: Any, total: Any) -> Any:
        return mb.coreml_update_state(state=total, value=mb.add(x=mb.read_state(input=total), y=x))

    return prog


@pytest.fixture(scope="module", params=["program", "package"])
def model(request: pytest.FixtureRequest, counter: Any) -> ReferenceModel:
    """Return the counter from either loader."""
    if request.param == "program":
        return ReferenceModel(counter)
    return ReferenceModel(ct.convert(counter, minimum_deployment_target=ct.target.iOS18, skip_model_load=True))


def test_a_state_accumulates(model: ReferenceModel) -> None:
    state = model.make_state()
    x = np.array([1.0, 2.0, 3.0], np.float16)
    for i in range(1, 4):
        (result,) = model.predict({"x": x}, state).values()
        np.testing.assert_array_equal(result, i * x)
    assert state.read_state("total").dtype == np.float16


def test_states_are_independent_and_can_be_written(model: ReferenceModel) -> None:
    first, second = model.make_state(), model.make_state()
    x = np.ones(3, np.float16)
    first.write_state("total", np.full(3, 10.0))
    model.predict({"x": x}, first)
    np.testing.assert_array_equal(first.read_state("total"), [11.0] * 3)
    np.testing.assert_array_equal(second.read_state("total"), [0.0] * 3)


def test_mistakes_are_named(model: ReferenceModel) -> None:
    with pytest.raises(InputError, match=r"keeps state \(total\)"):
        model.predict({"x": np.ones(3, np.float16)})
    with pytest.raises(InputError, match=r"keeps state \(total\)"):
        model.predict({"x": np.ones(3, np.float16)}, {"total": np.zeros(3)})
    state = model.make_state()
    with pytest.raises(UnknownNameError, match="unknown state 'totl'"):
        state.read_state("totl")
    with pytest.raises(InputError, match=r"expected shape \(3,\), got \(4,\)"):
        state.write_state("total", np.zeros(4))
