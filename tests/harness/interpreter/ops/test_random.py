"""Random ops: shape, type and moments; the same numbers for the same seed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

SHAPE = np.array([100, 200], np.int32)
CASES = {
    "random_uniform": ({"low": -1.0, "high": 3.0}, 1.0, 4 / 12**0.5),
    "random_normal": ({"mean": 2.0, "stddev": 3.0}, 2.0, 3.0),
    "random_bernoulli": ({"prob": 0.25}, 0.25, (0.25 * 0.75) ** 0.5),
}


@pytest.mark.parametrize("op", CASES)
@pytest.mark.parametrize("dtype", ["fp16", "fp32"])
def test_shape_type_moments_and_seed(run_op: Any, op: Any, dtype: Any) -> None:
    given, mean, deviation = CASES[op]
    first, again, other = (run_op(op, opset=15, shape=SHAPE, seed=seed, out=dtype, **given) for seed in (7, 7, 8))
    assert first.shape == (100, 200)
    assert first.dtype == {"fp16": np.float16, "fp32": np.float32}[dtype]
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    wide = first.astype(np.float64)
    assert abs(wide.mean() - mean) < 5 * deviation / 20_000**0.5  # five standard errors of the mean
    assert wide.std() == pytest.approx(deviation, rel=0.05)


def test_without_a_seed_numbers_differ(run_op: Any) -> None:
    first, other = (run_op("random_normal", opset=15, shape=SHAPE, out="fp32") for _ in range(2))
    assert (first != other).any()


@pytest.mark.parametrize("mode", ["logits", "probs"])
def test_categories_come_as_often_as_they_should(run_op: Any, mode: Any) -> None:
    shares = np.array([[0.1, 0.2, 0.7], [0.0, 1.0, 0.0]], np.float32)
    with np.errstate(divide="ignore"):
        x = np.maximum(np.log(shares), -1e4) if mode == "logits" else shares
    drawn = run_op("random_categorical", opset=15, x=run_op.variable(x), mode=mode, size=10_000, seed=3)
    assert drawn.shape == (2, 10_000)
    counts = [(drawn[0] == kind).mean() for kind in range(3)]
    np.testing.assert_allclose(counts, shares[0], rtol=0, atol=0.02)
    assert (drawn[1] == 1).all()
