"""The latency table: each statistic against numpy's, and what has no value is a dash."""

from __future__ import annotations

import numpy as np
import pytest

from harness.report.latency_table import columns, percentile, slowdown, tokens_per_second
from tests.harness.example_records import record

TIMES = tuple(np.random.default_rng(0).lognormal(-7, 0.3, 101).tolist())


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.9, 0.99, 1.0])
@pytest.mark.parametrize("values", [TIMES, TIMES[:4], TIMES[:1]])
def test_percentiles_are_numpy_s(share, values):
    assert percentile(values, share) == pytest.approx(float(np.percentile(values, 100 * share)), rel=1e-12)


def test_a_row_s_statistics():
    one = record(samples={"predict": TIMES, "predict_framework": TIMES, "first_predict": (0.25,)}, sequence_length=32)
    text = {column.header: column.text(one) for column in columns([one])}
    milliseconds = np.asarray(TIMES) * 1e3
    assert text["p50 ms"] == f"{np.median(milliseconds):.3f}"
    assert text["p99"] == f"{np.percentile(milliseconds, 99):.3f}"
    assert text["min"] == f"{milliseconds.min():.3f}"
    assert text["IQR"] == f"{np.subtract(*np.percentile(milliseconds, [75, 25])):.3f}"
    assert text["first predict"] == "250.0"
    assert "sustained / burst" not in text
    assert tokens_per_second(one) == pytest.approx(32 / np.median(TIMES))


def test_a_decode_is_one_token():
    one = record(samples={"predict": (0.01, 0.02, 0.04)}, shape="decode", sequence_length=32)
    assert tokens_per_second(one) == pytest.approx(50)


def test_sustained_is_its_last_quarter_over_the_burst():
    one = record(samples={"predict": (0.01,) * 5, "sustained": (0.01,) * 6 + (0.012, 0.013)})
    assert slowdown(one) == pytest.approx(1.25)


def test_a_row_without_times_has_dashes():
    some, none = record(samples={"predict": TIMES}), record(status="killed", reason="SIGKILL", samples={})
    text = {column.header: column.text(none) for column in columns([some, none])}
    assert (text["p50 ms"], text["samples"], text["status"]) == ("-", "-", "killed")
