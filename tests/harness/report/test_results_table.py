"""The table of a run as a person reads it, whole: rows that are fine, rows that are not, and their reasons below."""

from __future__ import annotations

import pytest

from harness.report.formats import FORMATS
from harness.report.results_table import document
from tests.harness.example_records import METRICS, NORMS, record, sites

ROWS = [
    record("llama", variant="off", lowering="", fused=0, norm_ops=None),
    record("llama"),
    record("llama", lowering="max_abs", metrics={**METRICS, "rel_l2": 3.2e-3}),
    record(
        "qwen3",
        status="wrong",
        fused=2,
        missed=1,
        sites=sites(*NORMS[:2], missed=NORMS[2:]),
        reason="2 of 3 norms fused: y (model.norm): the mean is over axis 1, not the last",
    ),
    record("gemma2", shape="decode", metrics={**METRICS, "rel_l2": None, "top1": 0.0}),
    record("a|b", status="failed", fused=None, missed=None, metrics={}, reason="no\nsuch | class"),
]


@pytest.mark.parametrize("form", ["github", "tsv"])
def test_the_table_of_a_run(form, snapshot):
    assert FORMATS[form](document(ROWS)) == snapshot
