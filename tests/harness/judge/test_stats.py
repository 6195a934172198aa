"""Estimators against known truth, and against scipy's own resampling."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as scipy_stats

from harness.judge.median_interval import CONFIDENCE
from harness.judge.stats import ALPHA, FEWEST, Samples, effects, holm, midranks, needed_samples

SEED = 20260101


def drawn(rng, rows, n, *, slowdown=1.0, noise=0.008):
    base = np.exp(rng.normal(0, noise, (rows, n)))
    candidate = slowdown * np.exp(rng.normal(0, noise, (rows, n)))
    return base, candidate


def judged(base, candidate, *, paired):
    return effects([Samples(one, other, paired) for one, other in zip(base, candidate, strict=True)])


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("n", [10, 15, 30])
def test_the_interval_covers_the_true_ratio_as_often_as_it_says(paired, n):
    base, candidate = drawn(np.random.default_rng(SEED), 4000, n, slowdown=1.05)
    covered = np.mean([one.low <= 1.05 <= one.high for one in judged(base, candidate, paired=paired)])
    # The ends are among the samples. Of 15 pairs they are the 4th and the 12th, which hold the median of any
    # distribution with probability 1 - 2 P(Binomial(15, 1/2) <= 3) = 0.965; other numbers lie above that.
    assert covered >= 0.965 - 3 * np.sqrt(0.035 * 0.965 / 4000)


@pytest.mark.parametrize("paired", [True, False])
def test_the_estimate_is_the_true_ratio(paired):
    base, candidate = drawn(np.random.default_rng(SEED), 2000, 30, slowdown=1.05)
    ratios = [one.ratio for one in judged(base, candidate, paired=paired)]
    assert np.mean(ratios) == pytest.approx(1.05, abs=3e-4)


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("n", [10, 30])
def test_probabilities_of_equals_are_uniform(paired, n):
    base, candidate = drawn(np.random.default_rng(SEED), 4000, n)
    p = np.array([one.p for one in judged(base, candidate, paired=paired)])
    for level in (0.01, 0.05, 0.2):
        assert np.mean(p <= level) <= level + 3 * np.sqrt(level / len(p))


def test_pairs_cancel_a_drift_within_the_session():
    rng = np.random.default_rng(SEED)
    drift = np.linspace(1, 1.3, 30)  # clocks that fall by a third
    base, candidate = drawn(rng, 500, 30, slowdown=1.02)
    paired = judged(base * drift, candidate * drift, paired=True)
    unpaired = judged(base * drift, candidate * drift, paired=False)
    assert np.mean([one.low > 1 for one in paired]) > 0.95
    assert np.mean([one.low > 1 for one in unpaired]) < 0.1


@pytest.mark.parametrize("digits", [9, 2, 1])
@pytest.mark.parametrize(("m", "n"), [(10, 10), (30, 30), (11, 40), (100, 15)])
def test_the_interval_of_sessions_is_that_of_all_differences(m, n, digits):
    """The median of a resample of ``n`` odd values is one of them, and its distribution is the binomial's."""
    rng = np.random.default_rng(SEED)
    base, candidate = (np.exp(rng.normal(0, 1, (40, size)).round(digits)) for size in (m, n))  # few digits: many ties

    def weights(size):
        drawn = size - 1 + size % 2
        return np.diff(scipy_stats.binom.sf((drawn - 1) // 2, drawn, np.arange(size + 1) / size))

    for one, other, ours in zip(base, candidate, judged(base, candidate, paired=False), strict=True):
        ratios = np.divide.outer(np.sort(other), np.sort(one)).ravel()
        order = np.argsort(ratios)
        reached = np.cumsum(np.outer(weights(n), weights(m)).ravel()[order])
        ends = [ratios[order][np.searchsorted(reached, end)] for end in (0.005, 0.995)]
        assert (ours.low, ours.high) == pytest.approx(tuple(ends), rel=1e-9)


@pytest.mark.parametrize("n", [11, 30])
def test_the_interval_of_pairs_is_what_scipys_bootstrap_draws(n):
    rng = np.random.default_rng(SEED)
    base, candidate = drawn(rng, 1, n, slowdown=1.03, noise=0.02)
    (ours,) = judged(base, candidate, paired=True)
    scipys = scipy_stats.bootstrap(
        (candidate[0] / base[0],),
        np.median,
        confidence_level=CONFIDENCE,
        n_resamples=20_000,
        method="percentile",
        rng=rng,
    ).confidence_interval
    # Neighbouring order statistics are about 0.01 / n apart in the middle, wider at the ends; one of them is allowed.
    assert (ours.low, ours.high) == pytest.approx(tuple(scipys), abs=0.01)


@pytest.mark.parametrize("n", [11, 30])
def test_the_interval_of_sessions_is_what_scipys_bootstrap_draws(n):
    rng = np.random.default_rng(SEED)
    base, candidate = drawn(rng, 1, n, slowdown=1.03, noise=0.02)
    (ours,) = judged(base, candidate, paired=False)

    def ratio(x, y, axis):
        return np.median(y, axis=axis) / np.median(x, axis=axis)

    scipys = scipy_stats.bootstrap(
        (base[0], candidate[0]), ratio, confidence_level=CONFIDENCE, n_resamples=20_000, method="percentile", rng=rng
    ).confidence_interval
    assert (ours.low, ours.high) == pytest.approx(tuple(scipys), abs=0.01)


def test_what_is_compared_with_itself_is_equal():
    same = [1.0, 1.1, 0.9, 1.2, 1.05, 1.0, 0.95, 1.3, 1.0, 1.01]
    for paired in (True, False):
        (one,) = effects([Samples(same, same, paired)])
        assert (one.ratio, one.p) == (1.0, 1.0)
        assert one.low <= 1 <= one.high


def test_a_clock_of_one_tick_says_nothing():
    (paired,) = effects([Samples([2e-6] * 12, [2e-6] * 12, paired=True)])
    (unpaired,) = effects([Samples([2e-6] * 12, [2e-6] * 12, paired=False)])
    assert paired.p == unpaired.p == 1.0


@pytest.mark.parametrize("n", [1, 2, 6, 60])
def test_midranks_are_scipys(n):
    values = np.random.default_rng(SEED).normal(size=(200, n)).round(1)  # of one decimal, so that many are equal
    np.testing.assert_array_equal(midranks(values), scipy_stats.rankdata(values, axis=1))


@pytest.mark.parametrize("decimals", [2, 17])
def test_the_probability_of_sessions_is_scipys(decimals):
    rng = np.random.default_rng(SEED)
    x, y = rng.uniform(1, 2, (100, 30)).round(decimals), rng.uniform(1.1, 2.1, (100, 25)).round(decimals)
    scipys = scipy_stats.mannwhitneyu(x, y, axis=1, method="asymptotic").pvalue
    assert [one.p for one in judged(x, y, paired=False)] == pytest.approx(scipys, rel=1e-9)


def test_effects_keep_the_order_of_their_rows():
    rng = np.random.default_rng(SEED)
    rows = [
        Samples(rng.uniform(1, 2, n), rng.uniform(1, 2, n) * k, n % 2 == 0) for k, n in enumerate([10, 30, 11, 30], 1)
    ]
    alone = [effects([row])[0] for row in rows]
    assert effects(rows) == alone


def test_holm_is_what_the_paper_computes():
    # Holm (1979): ordered p times 4, 3, 2, 1, never falling.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_holm_bounds_any_false_finding():
    p = np.random.default_rng(SEED).uniform(size=(5000, 40))
    assert np.mean([min(holm(row)) <= ALPHA for row in p]) <= ALPHA + 3 * np.sqrt(ALPHA / 5000)


def test_the_needed_samples_grow_with_the_comparisons():
    assert needed_samples(1, paired=True) == FEWEST
    # Four blocks of three pairs wholly apart: U is 4 * 4.5 from its mean, its variance 4 * 9 * 7 / 12; with the
    # correction for continuity z = 17.5 / 21 ** 0.5 = 3.82, and 2 * 40 * P(Z > 3.82) = 0.0054 is below 0.01.
    # Eleven pairs: z = (4.5 + 4.5 + 12.5 - 0.5) / (5.25 + 5.25 + 25 * 11 / 12) ** 0.5 = 3.64, and 0.0109 is not.
    assert needed_samples(40, paired=True) == 12
    assert needed_samples(40, paired=False) == FEWEST
    assert needed_samples(1000, paired=True) > 12


def test_the_paired_probability_is_what_shuffling_within_blocks_gives():
    rng = np.random.default_rng(SEED)
    base, candidate = drawn(rng, 1, 12, slowdown=1.008)
    (ours,) = judged(base, candidate, paired=True)

    def u(x, y):
        return sum((y[i : i + 3, None] > x[None, i : i + 3]).sum() for i in range(0, 12, 3)) - 18

    both = np.stack([base[0], candidate[0]], axis=1).reshape(4, 6)
    shuffled = rng.permuted(np.tile(both, (20_000, 1, 1)), axis=2)
    drawn_u = [u(one[:, :3].ravel(), one[:, 3:].ravel()) for one in shuffled]
    expected = np.mean(np.abs(drawn_u) >= abs(u(base[0], candidate[0])))
    # The normal distribution stands for 4 blocks' worth of whole numbers.
    assert ours.p == pytest.approx(expected, abs=0.02)


def test_outliers_do_not_hide_a_slowdown():
    rng = np.random.default_rng(SEED)
    base, candidate = drawn(rng, 500, 30, slowdown=1.05)
    late = [np.where(rng.random(base.shape) < 0.05, 1.3, 1.0) for _ in range(2)]
    p = np.array([one.p for one in judged(base * late[0], candidate * late[1], paired=True)])
    assert np.mean(p * 40 <= ALPHA) > 0.99
