"""``compare`` and ``history`` as a user sees them: golden tables, exit codes, one line for bad input."""

from __future__ import annotations

import io
import json
import subprocess
from contextlib import redirect_stderr, redirect_stdout

import msgspec
import numpy as np
import pytest

from harness.cli.main import main
from tests.harness.example_records import MAC, METRICS, NORMS, record, sites, write_run

replace = msgspec.structs.replace


def harness(*arguments):
    """Run the command line in this process; return exit code, stdout, stderr."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as exit_:
        main([str(argument) for argument in arguments])
    return int(exit_.value.code or 0), out.getvalue(), err.getvalue()


def timed(model, median, *, seed, noise=0.008, n=30, **fields):
    times = median * np.exp(np.random.default_rng(seed).normal(0, noise, n))
    return record(model, executor="coreml", samples={"predict": tuple(times.tolist())}, pair="session-1", **fields)


def before():
    return [
        *(record("llama", variant) for variant in ("off", "on", "cpu")),
        record("qwen3"),
        record("gemma2"),
        record("mistral"),
        record("olmo2"),
        record("phi3", definition="a" * 40),
        record(
            "granite", status="failed", reason="op 'roll' is not known", sites=(), metrics={}, fused=None, missed=None
        ),
        timed("smollm3", 2e-3, seed=1),
        timed("starcoder2", 3e-3, seed=2),
        timed("cohere", 4e-3, seed=3, n=8),
        timed("falcon", 5e-3, seed=4, environment=replace(MAC, os="macOS 15.4 (24E248)")),
        record("nemotron", policy="fp16"),
    ]


def after():
    failed = {"sites": (), "metrics": {}, "fused": None, "missed": None, "ops_after": None}
    return [
        record("llama", "off"),
        record("llama", "on", fused=2, missed=1, sites=sites(*NORMS[:2], missed=NORMS[2:]), ops_after=114),
        record("llama", "cpu", ops_before=121, ops_after=121),
        record("qwen3", status="failed", reason="'Tensor' object has no attribute 'roll'", **failed),
        record("mistral", metrics={**METRICS, "rel_l2": 4.2e-3, "top1": 0.81}),
        record("olmo2", ops_after=109, norm_ops=13),
        record("phi3", definition="b" * 40),
        record("granite"),
        timed("smollm3", 2.1e-3, seed=11),
        timed("starcoder2", 2.8e-3, seed=12),
        timed("cohere", 4e-3, seed=13, n=8),
        timed("falcon", 6e-3, seed=14),
        record("nemotron", policy="fp32"),
        record("new | model"),
    ]


@pytest.fixture
def results(tmp_path):
    write_run(tmp_path, "20260101T000000.000000Z", before())
    write_run(tmp_path, "20260102T000000.000000Z", after())
    return tmp_path


def test_the_table_of_a_comparison(results, snapshot):
    code, out, err = harness("compare", "latest~1", "latest", "--results", results)
    assert code == 1
    assert f"{out}{err}" == snapshot


def test_the_table_as_tab_separated_values(results, snapshot):
    code, out, _ = harness("compare", "latest~1", "latest", "--results", results, "--format", "tsv", "--model", "llama")
    assert code == 1
    assert out == snapshot


def test_json_has_every_verdict(results):
    code, out, _ = harness("compare", "20260101", "20260102", "--results", results, "--format", "json")
    assert code == 1
    verdicts = json.loads(out)
    slower = next(one for one in verdicts if one["model"] == "smollm3" and one["measure"] == "predict")
    assert slower["kind"] == "regression"
    assert slower["interval"][0] < 1.05 < slower["interval"][1]
    assert {"unchanged", "not comparable"} <= {one["kind"] for one in verdicts}


def test_without_a_regression_the_exit_code_is_0(results):
    code, out, err = harness("compare", "latest", "latest", "--results", results, "--model", "llama")
    assert (code, out) == (0, "")
    assert "3 unchanged" in err


def test_the_table_of_a_history(tmp_path, snapshot):
    rng = np.random.default_rng(5)
    for night in range(30):
        new = night >= 20
        environment = replace(MAC, versions={**MAC.versions, "coremltools": "9.1" if new else "9.0"})
        fields = {"environment": environment, "time": f"2026-01-{night + 1:02}T00:00:00+00:00", "executor": "coreml"}
        times = (2e-3 * (1.05 if new else 1) * np.exp(rng.normal(0, 0.005, 5))).round(6).tolist()
        rows = [
            record(samples={"predict": tuple(times)}, **fields),
            record("qwen3", fused=3 if night < 25 else 2, **fields),
        ]
        write_run(tmp_path, f"202601{night + 1:02}T000000.000000Z", rows)
    code, out, err = harness("history", "--results", tmp_path, "--all", "--metric", "predict", "--metric", "fused")
    assert code == 0
    assert f"{out}{err}".replace(str(tmp_path), "RESULTS") == snapshot


def test_a_torn_last_line_is_said_and_the_rest_is_compared(results):
    path = results / "runs" / "20260102T000000.000000Z.jsonl"
    path.write_bytes(path.read_bytes()[:-30])
    code, out, err = harness("compare", "latest~1", "latest", "--results", results)
    assert code == 1
    assert "norm model.norm is not fused any more" in out
    assert f"{path}:14: half-written last line skipped" in err


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("compare", "nosuch"), "nosuch: no run under"),
        (("compare", "2026"), "2026: 2 runs begin so: 20260101T000000.000000Z"),
        (("compare", "latest~7"), "holds 2 runs"),
        (("compare", "missing.jsonl"), "missing.jsonl: cannot read: No such file"),
        (("compare", "latest", "--format", "markdown"), "unknown format 'markdown'"),
        (("compare", "latest", "--tier", "daily"), "unknown tier 'daily'"),
        (("compare", "baselines"), "no baselines there; write them with `ane-harness expect --update`"),
        (("history", "--model", "lama"), "unknown model 'lama'. Did you mean llama"),
        (("history", "--metric", "rel_12"), "rel_12: no record has such a figure; known:"),
        (("history", "--format", "markdown"), "unknown format 'markdown'"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(results, arguments, line):
    code, out, err = harness(*arguments, "--results", results)
    assert (code, out) == (2, "")
    assert line in err
    assert len(err.strip().splitlines()) == 1


def test_a_file_that_is_no_record_is_one_line(results):
    path = results / "broken.jsonl"
    path.write_text("{}\n")
    code, _, err = harness("compare", path, "latest", "--results", results)
    assert code == 2
    assert f"{path}:1: not a record" in err


def test_a_git_revision_stands_for_the_baselines_committed_there(tmp_path):
    def git(*words):
        subprocess.run(
            ["git", "-C", tmp_path, "-c", "user.name=a", "-c", "user.email=a@b", *words], check=True, timeout=60
        )

    results = tmp_path / "results"
    for fused in (2, 3):
        write_run(results, "20260101", [record(fused=fused, sites=sites(*NORMS[:fused]))])
        assert harness("expect", "--update", "--results", results)[0] == 0
        if fused == 2:
            git("init", "-q")
        git("add", "-A")
        git("commit", "-q", "-m", "expect")
    write_run(results, "20260101", [record()])
    code, out, _ = harness("compare", "HEAD~1", "latest", "--results", results)
    assert code == 0
    assert "improvement" in out
    assert harness("compare", "HEAD", "latest", "--results", results)[:2] == (0, "")
    assert harness("compare", "HEAD", "HEAD~1", "--results", results)[0] == 1
