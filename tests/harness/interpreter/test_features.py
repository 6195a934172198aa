"""What ``predict`` accepts, converts, refuses and returns."""

from __future__ import annotations

from typing import Any

import coremltools as ct
import numpy as np
import pytest
import torch
from coremltools.converters.mil.mil import Builder as mb
from coremltools.converters.mil.mil import types

from harness.errors import InputError
from harness.interpreter import ReferenceModel


def converted(inputs: Any) -> ReferenceModel:
    """Convert ``x * 2 + ids`` with the given input types."""

    class Model(torch.nn.Module):
        def forward(self, x: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
            return x * 2 + ids

    traced = torch.jit.trace(Model(), (torch.zeros(1, 4), torch.zeros(1, dtype=torch.int32)))
    model = ct.convert(
        traced,
        inputs=[inputs, ct.TensorType("ids", (1,), dtype=np.int32)],
        outputs=[ct.TensorType("y")],
        minimum_deployment_target=ct.target.iOS16,
        compute_precision=ct.precision.FLOAT32,
        skip_model_load=True,
    )
    return ReferenceModel(model)


@pytest.fixture(scope="module")
def model() -> ReferenceModel:
    """Return a model of one float32 and one int32 input."""
    return converted(ct.TensorType("x", (1, 4)))


X = np.arange(4.0).reshape(1, 4)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int32, np.int64, np.uint8, np.bool_])
def test_any_real_array_is_converted(model: ReferenceModel, dtype: Any) -> None:
    x = X.astype(dtype)
    result = model.predict({"x": x, "ids": np.array([3], dtype)})["y"]
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, x.astype(np.float64) * 2 + dtype(3))


def test_lists_and_torch_tensors_are_taken(model: ReferenceModel) -> None:
    expected = X * 2 + 3
    np.testing.assert_array_equal(model.predict({"x": X.tolist(), "ids": [3]})["y"], expected)
    tensors = {"x": torch.from_numpy(X).bfloat16(), "ids": torch.tensor([3])}
    np.testing.assert_array_equal(model.predict(tensors)["y"], expected)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"x": X}, r"input 'ids' is missing: expected int32 \(1\)"),
        ({"x": X, "ids": [1], "idz": [1]}, r"unknown input 'idz'. Did you mean ids"),
        ({"x": X[0], "ids": [1]}, r"input 'x': expected shape \(1, 4\), got \(4\)"),
        ({"x": X, "ids": [1.5]}, r"input 'ids': expected int32, got float64 values that are not integers"),
        ({"x": X, "ids": [2**40]}, r"input 'ids': expected int32, got int64 values"),
        ({"x": X.astype(str), "ids": [1]}, r"input 'x': expected fp32, got an array of <U"),
        ({"x": X.astype(complex), "ids": [1]}, r"input 'x': expected fp32, got an array of complex128"),
        ({"x": [[None] * 4], "ids": [1]}, r"input 'x': expected fp32, got an array of object"),
    ],
)
def test_mistakes_are_named_in_one_line(model: ReferenceModel, data: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        model.predict(data)
    assert "\n" not in str(caught.value)


def test_ranges_are_checked() -> None:
    model = converted(ct.TensorType("x", (1, ct.RangeDim(2, 6, 4))))
    for size in (2, 6):
        assert model.predict({"x": np.ones((1, size)), "ids": [1]})["y"].shape == (1, size)
    for size in (1, 7):
        with pytest.raises(InputError, match=r"expected shape \(1, 2..6\)"):
            model.predict({"x": np.ones((1, size)), "ids": [1]})


def test_enumerations_are_checked() -> None:
    shapes = ct.EnumeratedShapes(shapes=[(1, 4), (1, 8)])
    model = converted(ct.TensorType("x", shapes))
    assert model.predict({"x": np.ones((1, 8)), "ids": [1]})["y"].shape == (1, 8)
    with pytest.raises(InputError, match=r"expected shape \(1, 4\) or \(1, 8\), got \(1, 5\)"):
        model.predict({"x": np.ones((1, 5)), "ids": [1]})


def test_an_optional_input_has_its_default() -> None:
    model = converted(ct.TensorType("x", (1, 4), default_value=np.full((1, 4), 2.5, np.float32)))
    np.testing.assert_array_equal(model.predict({"ids": [1]})["y"], np.full((1, 4), 6.0))


def test_float16_inputs_saturate_to_infinity_and_outputs_keep_their_dtype() -> None:
    @mb.program(input_specs=[mb.TensorSpec((2,), dtype=types.fp16)], opset_version=ct.target.iOS16)
    def prog(x: Any) -> Any:
        return mb.identity(x=x, name="y")

    result = ReferenceModel(prog, "fp64").predict({"x": [1e6, 1.0]})["y"]
    assert result.dtype == np.float16
    np.testing.assert_array_equal(result, [np.inf, 1.0])


def test_evaluate_returns_what_is_stored() -> None:
    @mb.program(input_specs=[mb.TensorSpec((1,), dtype=types.fp16)], opset_version=ct.target.iOS16)
    def prog(x: Any) -> Any:
        return mb.mul(x=x, y=x, name="y")

    data = {"x": np.array([300.0])}
    assert ReferenceModel(prog, "fp32").evaluate(data)["y"].item() == 90000.0
    assert ReferenceModel(prog, "fp32").predict(data)["y"].item() == np.inf


def test_results_may_be_written_to(model: ReferenceModel) -> None:
    first = model.predict({"x": X, "ids": [0]})["y"]
    first[:] = -1
    np.testing.assert_array_equal(model.predict({"x": X, "ids": [0]})["y"], X * 2)
