"""The fit finds the levels that a series was made of, and none in noise."""

from __future__ import annotations

import numpy as np
import pytest

from harness.judge.step_fit import steps


def noisy(*levels: tuple[float, int], noise: float = 0.01, seed: int = 1) -> np.ndarray:
    """Return levels, each with its number of values, under normal noise of the logarithm."""
    rng = np.random.default_rng(seed)
    values = np.concatenate([np.full(count, level) for level, count in levels])
    return values * np.exp(rng.normal(0, noise, len(values)))


def test_noise_alone_has_no_step():
    assert [steps(noisy((1.0, 60), seed=seed)) for seed in range(20)] == [[]] * 20


@pytest.mark.parametrize("at", [5, 30, 55])
def test_one_step_is_found_where_it_is(at):
    assert steps(noisy((1.0, at), (1.2, 60 - at))) == [at]


def test_several_steps_are_found_at_once():
    assert steps(noisy((1.0, 30), (1.3, 25), (1.1, 40), (0.8, 30))) == [30, 55, 95]


def test_a_piece_may_be_longer_than_those_of_the_exact_solution():
    assert steps(noisy((1.0, 150), (1.1, 150))) == [150]


@pytest.mark.parametrize("series", [[1.0], [1.0, 1.0], [2.0] * 40, [0.0] * 12])
def test_a_series_without_noise_is_one_level(series):
    assert steps(np.array(series)) == []


def test_a_step_without_noise_is_found():
    assert steps(np.array([1.0] * 12 + [1.4] * 4)) == [12]


def test_the_fit_is_the_best_partition_for_its_penalty():
    """Against every partition into three pieces at the most, of a short series."""
    series = noisy((1.0, 7), (1.5, 6), (1.1, 5), noise=0.02)

    def cost(*edges: int) -> float:
        pieces = np.split(series, edges)
        return sum(float(np.abs(piece - np.median(piece)).sum()) for piece in pieces)

    n = len(series)
    best = min(((a, b) for a in range(1, n) for b in range(a + 1, n)), key=lambda pair: cost(*pair))
    assert steps(series) == list(best)
