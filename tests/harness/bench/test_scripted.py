"""Every path of a measurement on a Mac, driven on Linux: only Core ML's native half is scripted."""

from __future__ import annotations

import statistics

import pytest

ON = "on-layer_norm"


def _slow(*values):
    """Leave to the nightly run what takes long, or differs from its neighbours in the moment alone."""
    return pytest.param(*values, marks=pytest.mark.slow)


def by_variant(records):
    assert len({record.variant for record in records}) == len(records)
    return {record.variant: record for record in records}


def test_a_measurement_that_goes_well(play):
    rows = by_variant(
        play(
            {
                "off": {"predict_s": 0.004, "framework_s": 0.003, "compile_s": 0.03, "load_s": 0.02},
                ON: {"predict_s": 0.002, "framework_s": 0.001},
            }
        )
    )
    off, on = rows["off"], rows["on"]
    for row in (off, on):
        assert (row.status, row.reason, row.executor, row.policy) == ("ok", "", "scripted", "")
        assert len(row.samples["predict"]) == len(row.samples["predict_framework"]) == 12
        assert (row.compute_units, row.marks) == ("CPU_AND_NE", ())
        assert (row.condition.power, row.condition_after.thermal) == ("AC", "nominal")
        assert 0 < row.metrics["rel_l2"] < 1e-2
        assert {"first_predict", "warm_up", "cold_compile", "cold_load", "warm_load", "load"} <= set(row.samples)
    assert off.pair == on.pair != ""
    assert statistics.median(off.samples["predict"]) > 1.5 * statistics.median(on.samples["predict"])
    assert off.samples["predict_framework"][0] == pytest.approx(0.003)
    assert off.samples["cold_compile"][0] >= 0.03
    assert on.lowering == "layer_norm"


def test_placement_counts_ops_costs_norms_and_hand_offs(play):
    rows = by_variant(play({"off": {"devices": {"rsqrt": "cpu", "*": "ane"}}, ON: {"devices": {"linear": "gpu"}}}))
    off, on = rows["off"].placement, rows["on"].placement
    assert (off.norms, on.norms) == ({"cpu": 2}, {"ane": 2})
    assert off.hand_offs == 4, "to the CPU and back, for each of two norms"
    assert on.hand_offs == 2
    assert on.ops["gpu"] == 1
    assert sum(on.cost.values()) == pytest.approx(1)
    assert off.cost["ane"] == pytest.approx(1 - 2 / sum(off.ops.values()))


@pytest.mark.parametrize(
    ("event", "action", "status", "reason"),
    [
        _slow("compile", "kill", "killed", "SIGKILL) at: on layer_norm CPU_AND_NE: cold compile"),
        _slow("load 2", "abort", "killed", "SIGABRT) at: on layer_norm CPU_AND_NE: warm load"),
        ("predict 1", "kill", "killed", "SIGKILL) at: on layer_norm CPU_AND_NE: first predict"),
        ("predict 5", "abort", "killed", "on layer_norm CPU_AND_NE: its process was ended by signal 6 (SIGABRT)"),
        _slow("predict 3", "hang", "timed out", "passed its limit of 30 s"),
        _slow("plan", "kill", "killed", "SIGKILL) at: on layer_norm CPU_AND_NE: plan"),
    ],
)
def test_what_ends_the_process_is_the_row_of_the_one_that_did_it(play, event, action, status, reason):
    rows = by_variant(play({ON: {"at": {event: action}}}, limit_s=30.0 if action == "hang" else 60.0))
    assert (rows["on"].status, reason in rows["on"].reason) == (status, True), rows["on"].reason
    assert rows["on"].samples == {}
    assert rows["off"].status == "ok"
    assert len(rows["off"].samples["predict"]) == 12
    assert rows["off"].pair == "", "measured without its partner, it is no pair"
    if action == "abort":
        assert "terminating due to uncaught exception" in rows["on"].log


@pytest.mark.parametrize("event", ["load 2", "predict 1"])
def test_a_neural_engine_compiler_that_fails_silently_is_a_failed_row_with_its_log(play, event):
    line = "E5RT encountered an STL exception. msg = MILCompilerForANE error: ... ANECCompile() FAILED."
    rows = by_variant(play({ON: {"at": {event: f"stderr {line}"}}}))
    assert rows["on"].status == "failed"
    assert "ANECCompile() FAILED" in rows["on"].reason
    assert line in rows["on"].log
    assert "predict" not in rows["on"].samples
    assert (rows["off"].status, len(rows["off"].samples["predict"])) == ("ok", 12)


def test_other_words_on_stderr_are_no_failure(play):
    assert {row.status for row in play({ON: {"at": {"load 1": "stderr a note of the framework"}}})} == {"ok"}


def test_a_load_that_core_ml_refuses_is_a_failed_row(play):
    rows = by_variant(play({ON: {"at": {"load 3": "raise Error in declaring network"}}}))
    assert rows["on"].status == "failed"
    assert "Error in declaring network" in rows["on"].reason
    assert rows["off"].status == "ok"


@pytest.mark.parametrize(
    ("outputs", "reason"),
    [
        ("nan", "256 of 256 values are NaN or infinite"),
        ("zeros", "every value is zero"),
        ("noise", "its relative L2 error is"),
    ],
)
def test_wrong_values_are_a_wrong_row_with_its_times(play, outputs, reason):
    rows = by_variant(play({ON: {"outputs": outputs}}))
    assert (rows["on"].status, reason in rows["on"].reason) == ("wrong", True), rows["on"].reason
    assert len(rows["on"].samples["predict"]) == 12
    assert rows["off"].status == "ok"


def test_both_that_die_both_have_their_rows(play):
    rows = by_variant(play({"*": {"at": {"predict 2": "kill"}}}))
    assert {row.status for row in rows.values()} == {"killed"}


def test_a_preparation_that_dies_is_every_case_s_row(play):
    rows = play({"prepare": {"at": {"export": "kill"}}})
    assert [(row.status, "SIGKILL" in row.reason) for row in rows] == [("killed", True)] * 2


def test_sustained_mode_keeps_its_own_samples_and_marks_what_heat_did(play):
    hot = [{"power": "AC", "thermal": level} for level in ("nominal", "moderate", "heavy", "heavy")]
    rows = by_variant(play({"machine": {"readings": hot}}, sustain_s=1.0))
    for row in rows.values():
        assert len(row.samples["sustained"]) == len(row.samples["sustained_framework"]) > 24
        assert len(row.samples["predict"]) == 12
        assert (row.condition.thermal, row.condition_after.thermal) == ("nominal", "heavy")
        assert (row.status, row.marks) == ("ok", ("throttled",))


def test_strict_fails_what_was_spoilt_while_it_was_measured(play):
    readings = [{"power": "AC"}, {"power": "battery", "translated": True}]
    for row in play({"machine": {"readings": readings}}, strict=True):
        assert (row.status, row.reason) == ("failed", "refused by --strict: on battery, under Rosetta")
        assert row.marks == ("on battery", "under Rosetta")


def test_the_sweep_holds_every_unit_against_float32_on_the_cpu(play):
    rows = play({"float32": {"predict_s": 0.002}, ON: {"outputs": "noise"}}, units=("CPU_ONLY", "CPU_AND_NE"))
    found = [(row.variant, row.compute_precision, row.compute_units, row.status) for row in rows]
    assert found == [
        ("off", "FLOAT32", "CPU_ONLY", "ok"),
        ("off", "FLOAT16", "CPU_ONLY", "ok"),
        ("on", "FLOAT16", "CPU_ONLY", "wrong"),
        ("off", "FLOAT16", "CPU_AND_NE", "ok"),
        ("on", "FLOAT16", "CPU_AND_NE", "wrong"),
    ]
    assert rows[1].placement.ops.keys() == {"cpu"}
    assert len({row.pair for row in rows}) == 3, "each unit is a pair; the reference is none"


def test_a_machine_older_than_compute_plans_is_measured_without_one(play):
    rows = play({"*": {"predict_s": 0.001, "at": {"plan": "raise needs macOS 14.4"}}})
    for row in rows:
        assert (row.status, row.placement, row.marks) == ("ok", None, ("no plan: needs macOS 14.4",))
