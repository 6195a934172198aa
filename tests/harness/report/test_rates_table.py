"""Rates as llama-bench shows them, with predictions beside them that are called so."""

from __future__ import annotations

import statistics

import msgspec
import pytest

from harness.report import formats
from harness.report.rates_table import document, rate, token_test
from tests.harness.records.test_predictions import prediction
from tests.harness.report.records import record, timed

TIMES = (0.01, 0.02, 0.0125)


def row(**fields):
    return timed("llama", "on", samples={"predict": TIMES}, sequence_length=32, **fields)


def cells(text):
    header, _, *lines = (line for line in text.splitlines() if line.startswith("|"))
    names, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in (header, *lines))
    return [dict(zip(names, one, strict=True)) for one in rows]


def test_a_prompt_s_rate_is_the_mean_over_predicts_with_their_deviation():
    rates = [3200, 1600, 2560]
    assert rate(row()) == pytest.approx((statistics.fmean(rates), statistics.stdev(rates)))
    assert token_test(row()) == "pp32"


def test_generation_is_one_token_a_predict():
    assert rate(row(shape="decode"))[0] == pytest.approx(statistics.fmean([100, 50, 80]))
    assert token_test(row(shape="decode")) == "tg"


def test_a_row_without_tokens_or_times_has_no_rate():
    assert rate(msgspec.structs.replace(row(), sequence_length=0)) is None
    assert rate(record()) is None


def test_the_predicted_rate_stands_in_a_column_that_says_so():
    text = formats.github(document([row()], [prediction("llama on layer_norm")]))
    (found,) = cells(text)
    assert found["predicted t/s, m1"] == "32,000 (24,615 to 45,714)"  # 32 tokens in 1 ms, 1.3 ms, 0.7 ms
    assert found["t/s"] == "2,453.3 ± 805.3"
    assert "they are not measured" in text


def test_a_row_off_the_engine_has_no_prediction():
    (found,) = cells(formats.github(document([row(compute_units="CPU_ONLY")], [prediction("llama on layer_norm")])))
    assert found["predicted t/s, m1"] == "-"


def test_the_reference_executor_is_named_as_no_device():
    ours = formats.github(document([row(executor="reference")], []))
    assert "not those of a device" in ours
    assert "not those of a device" not in formats.github(document([row()], []))
