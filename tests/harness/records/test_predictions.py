"""Predictions are kept apart from records, and no store takes one for the evidence of a device."""

from __future__ import annotations

import msgspec
import pytest

from harness.errors import OutputError, RecordError
from harness.records import predictions, run_files
from harness.records.predictions import Prediction
from harness.records.schema import EXECUTORS, Record
from harness.report.columns import COLUMNS
from harness.report.engine_table import summary
from harness.report.page.content import Page
from harness.report.page.html import render
from tests.harness.report.records import MAC, record


def prediction(subject: str = "llama on") -> Prediction:
    return Prediction(
        subject=subject,
        family="m1",
        basis="measured",
        ops=2,
        on_engine=1,
        may_leave=0,
        leave=1,
        absences=(),
        islands=1,
        hand_offs=1,
        weight_bytes=10,
        weight_limit_bytes=20,
        working_sets=0,
        largest_operand_bytes=4,
        working_set_bytes=8,
        padded=0,
        hazards=(),
        latency_s=1e-3,
        low_s=0.7e-3,
        high_s=1.3e-3,
        by_class_s={"dispatch": 1e-3},
        without_estimate={},
    )


def test_what_is_written_is_read_back(tmp_path):
    predictions.write(tmp_path, "1-llama", [prediction()])
    predictions.write(tmp_path, "2-qwen3", [prediction("qwen3 on")])
    assert [one.subject for one in predictions.read_all(tmp_path, pytest.fail)] == ["llama on", "qwen3 on"]


def test_a_damaged_file_is_named_and_left_out(tmp_path):
    predictions.write(tmp_path, "1-llama", [prediction()]).write_text("[1]")
    predictions.write(tmp_path, "2-qwen3", [prediction("qwen3 on")])
    told: list[str] = []
    assert [one.subject for one in predictions.read_all(tmp_path, told.append)] == ["qwen3 on"]
    assert "1-llama" in told[0]


def test_the_page_shows_predictions_apart_and_says_that_they_are(tmp_path):
    hostile = prediction("<script>alert(1)</script>")
    page = Page([record()], "run", predictions=[summary(hostile)])
    text = render(page, page.records)
    assert "Predicted for the Neural Engine, not measured" in text
    assert "<script>alert(1)" not in text
    assert "Predicted for the Neural Engine" not in render(Page([record()], "run"), [record()])


def test_no_executor_of_records_is_a_prediction():
    assert prediction().executor == "prediction"
    assert "prediction" not in EXECUTORS


def test_a_prediction_shares_no_column_of_measured_times_with_records():
    shared = set(Prediction.__struct_fields__) & set(Record.__struct_fields__)
    assert shared == {"executor"}


def test_the_store_refuses_a_prediction_among_records(tmp_path):
    path = tmp_path / "records.jsonl"
    path.write_bytes(msgspec.json.encode(prediction()) + b"\n{}\n")
    with pytest.raises(RecordError):
        list(run_files.read_records(path))


def test_a_device_row_cannot_have_a_policy_that_predicts_one(tmp_path):
    folder = run_files.RunFolder.new(tmp_path)
    device = msgspec.structs.replace(record(), executor="coreml", policy="ane-m1", environment=MAC)
    with pytest.raises(OutputError, match="'ane-m1' predicts a device"):
        folder.append(device)
    folder.append(msgspec.structs.replace(device, policy=""))
    folder.append(msgspec.structs.replace(record(), executor="reference", policy="ane-m1"))


def test_a_table_marks_rows_of_a_predicting_policy():
    (column,) = (one for one in COLUMNS if one.header == "policy")
    assert column.text(msgspec.structs.replace(record(), policy="ane-m5")) == "ane-m5 (predicted)"
    assert column.text(msgspec.structs.replace(record(), policy="fp16")) == "fp16"
