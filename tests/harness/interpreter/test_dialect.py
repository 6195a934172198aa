"""The dialect op as its own builder makes it, before any pass lowers it."""

from __future__ import annotations

from typing import Any

import coremltools as ct
import numpy as np
import pytest
from coremltools.converters.mil.mil import Builder as mb
from coremltools.converters.mil.mil import types

import ane_rms
from harness.interpreter import ReferenceModel

FP16_HALF_ULP = 2.0**-11


@pytest.mark.parametrize("target", [ct.target.iOS15, ct.target.iOS18])
def test_ane_rms_norm_runs_as_one_op(target: Any, rng: np.random.Generator) -> None:
    assert ane_rms is not None  # importing it registers the op
    gamma = rng.uniform(0.5, 2, size=32).astype(np.float16)
    x = rng.normal(size=(1, 4, 32)).astype(np.float16)
    x[0, 1, 3] = 300.0

    @mb.program(input_specs=[mb.TensorSpec((1, 4, 32), dtype=types.fp16)], opset_version=target)
    def prog(x: Any) -> Any:
        return mb.ane_rms_norm(x=x, gamma=gamma, epsilon=np.float16(1e-5), axes=[-1])

    (result,) = ReferenceModel(prog, "fp16").predict({"x": x}).values()
    wide = x.astype(np.float64)
    epsilon = float(np.float16(1e-5))
    expected = wide / np.sqrt((wide**2).mean(-1, keepdims=True) + epsilon) * gamma
    np.testing.assert_allclose(result, expected, rtol=1.01 * FP16_HALF_ULP, atol=1e-7)
