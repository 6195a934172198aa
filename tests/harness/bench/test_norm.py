"""The norm by itself: every lowering gives the formula's values, and its cost is a paired difference."""

from __future__ import annotations

import pytest

from harness.bench import norm_latency
from harness.bench.outcome import Settings
from harness.bench.session import Bench
from harness.plan.lowerings import lowerings
from harness.plan.run_plan import Options
from harness.report.norm_table import columns, costs
from harness.report.page.norm_page import norm_page
from tests.harness.example_records import record

pytestmark = pytest.mark.usefixtures("_kept_children")


def test_each_lowering_is_measured_beside_the_program_without_a_norm():
    options = Options(("off", "on"), lowerings=lowerings(), run_id="20260131T000000.000000Z")
    (job,) = norm_latency.jobs([64], [4], ["FLOAT16"], lowerings())
    with Bench(options, Settings("reference", samples=10)) as bench:
        records = list(norm_latency.measure(bench, job))
    assert [one.lowering for one in records] == ["", *lowerings()]
    assert {one.status for one in records} == {"ok"}, [one.reason for one in records]
    assert len({one.pair for one in records}) == 1
    # Two roundings to float16, of input and output, are 4e-4 together; max_abs and none take a few more.
    assert all(0 < one.metrics["rel_l2"] < 1e-3 for one in records[1:])
    assert len(list(costs(records))) == len(lowerings())
    text = norm_page(records).decode()
    assert text.startswith("<!doctype html>")
    assert "Executor: reference." in text
    assert all(f'"lowering":"{name}"' in text for name in lowerings())


def rows():
    timed = {"model": "rms_norm", "size": "4x64", "pair": "p", "executor": "coreml"}
    return [
        record(variant="off", lowering="", samples={"predict": (1e-3, 1.5e-3, 2e-3)}, **timed),
        record(variant="on", lowering="max_abs", samples={"predict": (1.2e-3, 1.6e-3, 2.2e-3)}, **timed),
        record(variant="on", lowering="none", samples={}, status="killed", reason="SIGKILL", **timed),
    ]


def test_the_cost_is_the_median_of_what_each_predict_took_more():
    (one,) = costs(rows())
    assert (one.tokens, one.width, one.lowering) == (4, 64, "max_abs")
    assert one.median_s == pytest.approx(0.2e-3)
    assert one.low_s == pytest.approx(0.15e-3)


def test_the_framework_s_own_time_is_preferred_where_both_have_it():
    off, on, _ = rows()
    off.samples["predict_framework"] = (1e-3,) * 3
    on.samples["predict_framework"] = (1.05e-3,) * 3
    (one,) = costs([off, on])
    assert one.median_s == pytest.approx(0.05e-3)


def test_the_table_has_a_row_for_what_failed():
    found = rows()
    text = {column.header: [column.text(one) for one in found] for column in columns(found)}
    assert text["norm us"] == ["-", "200.0", "-"]
    assert text["status"] == ["ok", "ok", "killed"]
    assert text["lowering"] == ["(no norm)", "max_abs", "none"]


def test_both_ends_of_the_grid_are_in_it():
    assert (min(norm_latency.WIDTHS), max(norm_latency.WIDTHS)) == (64, 16384)
    assert (min(norm_latency.TOKENS), max(norm_latency.TOKENS)) == (1, 2048)
