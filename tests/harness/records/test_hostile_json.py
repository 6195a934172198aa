"""Each JSON file of a results folder with values of other types, cut, or in another encoding: answered or refused."""

from __future__ import annotations

import json
import shutil

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.plan.run_plan import Options, Plan, Unusable
from harness.plan.run_plan import record as blank
from harness.records import accepted, baselines, predictions, regime_errors
from tests.fuzz import fuzz
from tests.harness.command_line import harness
from tests.harness.example_records import record, write_run
from tests.harness.records.test_hostile_folders import COMMANDS, RUNS, kept
from tests.hostile_json import odd_json

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

ENTRY = accepted.Accepted("llama", "llama on", record().row, "fused", 3, 2, RUNS[0], "known", "2026-01-01")
HAZARD = predictions.Hazard("x", "pow", "exceeds float16", 1e5)
LEAVING = predictions.Absence("gather", "no such op", 1, certain=True, first="y")
COUNTED = ("ops", "on_engine", "may_leave", "leave", "islands", "hand_offs", "weight_bytes", "weight_limit_bytes")
COUNTED += ("working_sets", "largest_operand_bytes", "working_set_bytes", "padded")
PREDICTION = predictions.Prediction(
    subject="llama on",
    family="m1",
    basis="measured",
    **dict.fromkeys(COUNTED, 7),
    absences=(LEAVING,),
    hazards=(HAZARD,),
    **dict.fromkeys(("latency_s", "low_s", "high_s"), 1e-3),
    by_class_s={"dispatch": 1e-4},
    without_estimate={"gather": 1},
)


def plain(value):
    return json.loads(msgspec.json.encode(value))


def as_baseline(row):
    return baselines.Baseline("llama", {"torch": "2"}, {"rel_l2": baselines.Tolerance(0.25, 1e-5)}, (row,))


PLAN = plain(Plan(Options(("on",), run_id=RUNS[1]), (), (Unusable("llama", "no such file"),), ("qwen3",)))
EXPECTED = baselines.Expectation("llama", "on", fused=3, missed=0, metrics={"rel_l2": 1e-3}, fused_sites={"a": "b"})
FILES = {
    f"runs/{RUNS[0]}.jsonl": plain(record()),
    f"runs/{RUNS[1]}.jsonl": plain(record()),
    f"runs/{RUNS[1]}.json": PLAN,
    "baselines/llama.json": plain(as_baseline(EXPECTED)),
    f"baselines/{accepted.NAME}": plain(ENTRY),
    f"tables/{RUNS[1]}{regime_errors.SUFFIX}": plain([regime_errors.Error("max_abs", "fp16", {"usual": 1e-3})]),
    f"tables/{RUNS[1]}{predictions.SUFFIX}": plain([PREDICTION]),
}


@st.composite
def odd_file(draw):
    name = draw(st.sampled_from(sorted(FILES)))
    return name, draw(odd_json(FILES[name])) + (b"\n" if name.endswith(".jsonl") else b"")


def check(done, command):
    assert done.returncode in (0, 1, 2), command
    assert "Traceback" not in done.stderr, command
    if done.returncode == 2:
        assert done.stderr.strip(), command
    assert all(one.isprintable() or one in "\n\t" for one in done.stdout + done.stderr), command


@pytest.mark.timeout(3600)
@fuzz(4, deadline=None)
@given(found=st.lists(odd_file(), min_size=1, max_size=2))
def test_every_command_answers_or_refuses(found, tmp_path):
    results = tmp_path / "r"
    shutil.rmtree(results, ignore_errors=True)
    for run in RUNS:
        write_run(results, run, [record()])
    assert harness("expect", "--update", "--results", results).returncode == 0
    for name, content in found:
        (results / name).parent.mkdir(exist_ok=True)
        (results / name).write_bytes(content)
    before = kept(results)
    for command in COMMANDS:
        check(harness(*command, "--results", results), command)
    assert kept(results) == before


@pytest.mark.timeout(3600)
@fuzz(8, deadline=None)
@given(plan=odd_json(PLAN), line=st.just(b"") | odd_json(FILES[f"runs/{RUNS[1]}.jsonl"]).map(lambda one: one + b"\n"))
def test_a_run_is_continued_or_refused(plan, line, tmp_path):
    results = tmp_path / "r"
    shutil.rmtree(results, ignore_errors=True)
    records = write_run(
        results, RUNS[1], [blank(Unusable("llama", ""), Options(("on",)), Options(("on",)).cases()[0], status="ok")]
    )
    records.write_bytes(records.read_bytes() + line)
    records.with_suffix(".json").write_bytes(plan)
    before = records.read_bytes()
    check(harness("run", "--resume", RUNS[1], "--results", results), "run --resume")
    assert records.read_bytes().startswith(before)
    assert records.with_suffix(".json").read_bytes() == plan
