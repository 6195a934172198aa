"""Predictions beside plans and measured times: where they part, and by how much."""

from __future__ import annotations

import msgspec

from harness.report import formats
from harness.report.engine_beside import beside_plan, beside_times
from harness.report.table import Document
from harness.runtime.compute_plan import PlannedOp
from tests.harness.records.test_predictions import prediction
from tests.harness.report.records import MAC, record


def markdown(part):
    return formats.github(Document([part]))


def test_a_plan_and_a_prediction_part_where_only_one_has_the_engine():
    ops = [PlannedOp("gather", "a", "cpu"), PlannedOp("mul", "b", "ane"), PlannedOp("add", "c", "cpu")]
    text = markdown(beside_plan("llama on", "m1", ops, {"a": "no cost", "b": "", "c": ""}))
    assert "of 3 ops 1 are planned and 2 predicted on the Neural Engine; they part at 1" in text
    assert "| c" in text
    assert "| b" not in text


def test_a_plan_that_agrees_has_one_line():
    text = markdown(beside_plan("llama on", "m1", [PlannedOp("mul", "b", "ane")], {"b": ""}))
    assert text.endswith("they part at 0")


def test_measured_times_stand_beside_the_band():
    row = record(executor="coreml", environment=MAC, samples={"predict": (0.002, 0.004, 0.003)}, policy="")
    text = markdown(beside_times([row], {"llama on layer_norm": prediction()}))
    assert "| 3 " in text
    assert "0.7 to 1.3" in text
    assert "3 times" in text
    within = msgspec.structs.replace(row, samples={"predict": (0.001,)})
    assert "within" in markdown(beside_times([within], {"llama on layer_norm": prediction()}))


def test_rows_without_both_are_left_out():
    assert markdown(beside_times([record()], {})) == ""
