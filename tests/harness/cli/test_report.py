"""``harness report``: which run, compared with what, written where."""

from __future__ import annotations

import json
import re

import pytest

from harness.judge.expectations import propose
from harness.records import baselines, regime_errors
from harness.records.lookup import Side
from tests.harness.command_line import harness
from tests.harness.report import records

OLD, NEW = "20260101T000000.000000Z", "20260102T000000.000000Z"


@pytest.fixture
def results(tmp_path):
    """Return a results folder of two runs, of which the newer lost a norm."""
    lost = records.record(fused=4, missed=1, sites=records.sites(4))
    write(tmp_path, OLD, [records.record()])
    write(tmp_path, NEW, [lost])
    return tmp_path


def write(folder, run, rows):
    import msgspec

    path = folder / "runs" / f"{run}.jsonl"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))
    return path


def test_the_newest_run_is_compared_with_the_one_before(results):
    done = harness("report", "--results", results)
    assert done.returncode == 0, done.stderr
    path = results / "tables" / f"{NEW}.html"
    assert done.stdout == f"1 row got worse in 1 figure: {path}\n"
    text = path.read_text(encoding="utf-8")
    assert f"Compared with {OLD}" in text


def test_committed_baselines_come_before_an_earlier_run(results):
    (expected,) = propose(Side("", [records.record(fused=4, missed=1, sites=records.sites(4))]), {})
    baselines.write(results / "baselines", expected.baseline)
    done = harness("report", "--results", results, "-o", results / "x.html")
    assert done.stdout.startswith("Nothing got worse in 1 row")
    assert "Compared with baselines" in (results / "x.html").read_text(encoding="utf-8")


def test_a_base_is_taken_as_named_or_none(results):
    done = harness("report", OLD[:8], "--base", NEW, "--results", results)
    assert done.stdout.startswith("Nothing got worse")
    done = harness("report", "--base", "none", "--results", results)
    assert done.stdout.startswith("Not compared; 1 row ok")
    done = harness("report", "latest~1", "--results", results)
    assert done.stdout.startswith("Not compared"), "no run is before the first"


def test_a_half_written_line_is_noted_in_the_file(results):
    with (results / "runs" / f"{NEW}.jsonl").open("ab") as stream:
        stream.write(b'{"run_id": "2026')
    done = harness("report", "--results", results, "-o", results / "x.html")
    assert done.returncode == 0, done.stderr
    assert "half-written last line skipped" in (results / "x.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("report", "absent.jsonl"), "absent.jsonl: cannot read: No such file"),
        (("report", "baselines"), "no baselines there"),
        (("report", "--base", "2025"), "2025: no run under"),
    ],
)
def test_what_cannot_be_found_is_one_line(arguments, line, results):
    done = harness(*arguments, "--results", results)
    assert done.returncode == 2
    assert line in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_file_that_cannot_be_written_is_one_line(results):
    done = harness("report", "--results", results, "-o", results / "runs" / f"{NEW}.jsonl" / "x.html")
    assert done.returncode == 2
    assert "cannot write" in done.stderr


def test_a_bench_is_compared_with_the_last_run_that_has_its_rows(results):
    write(results, "20251231T000000.000000Z", [records.timed(run_id="a")])
    newest = "20260103T000000.000000Z"
    write(results, newest, [records.timed(run_id=newest)])
    done = harness("report", "--results", results, "-o", results / "x.html")
    assert done.returncode == 0, done.stderr
    assert "Compared with 20251231T000000.000000Z" in (results / "x.html").read_text(encoding="utf-8")


def test_nights_before_are_in_the_file_with_their_changes(tmp_path):
    runs = [f"202601{day:02}T000000.000000Z" for day in range(1, 5)]
    for day, run in enumerate(runs):
        after = 121 if day < 2 else 125
        write(tmp_path, run, [records.record(run_id=run, time=f"2026-01-0{day + 1}T00:00:00+00:00", ops_after=after)])
    done = harness("report", "--results", tmp_path, "-o", tmp_path / "x.html")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "x.html").read_text(encoding="utf-8")
    assert "What changed of late" in text
    (history,) = re.findall(r'id="history">(.*?)</script>', text)
    by_metric = {one["metric"]: one for one in json.loads(history)["series"]["0"]}
    assert by_metric["ops_after"]["values"] == [121, 121, 125, 125]
    assert [step["night"] for step in by_metric["ops_after"]["steps"]] == [2]


def test_a_run_that_cannot_be_read_is_named_and_the_others_are_read(results):
    (results / "runs" / "20251231T000000.000000Z.jsonl").write_text('{"no": "record"}\n')
    done = harness("report", "--results", results, "-o", results / "x.html")
    assert done.returncode == 0, done.stderr
    assert "20251231T000000.000000Z.jsonl:1: not a record" in done.stderr
    assert "20251231T000000.000000Z.jsonl:1: not a record" in (results / "x.html").read_text(encoding="utf-8")


def test_errors_by_regime_are_taken_from_the_newest_run_that_measured_them(results):
    regime_errors.write(results, "20260101T000000.000000Z", [regime_errors.Error("layer_norm", "fp16", {"zeros": 1.0})])
    regime_errors.write(results, "20260102T000000.000000Z", [regime_errors.Error("layer_norm", "fp16", {"zeros": 0.0})])
    done = harness("report", "--results", results, "-o", results / "x.html")
    assert done.returncode == 0, done.stderr
    (page,) = re.findall(r'id="page">(.*?)</script>', (results / "x.html").read_text(encoding="utf-8"))
    assert json.loads(page)["regimes"] == {
        "run": "20260102T000000.000000Z",
        "errors": [{"lowering": "layer_norm", "policy": "fp16", "by_regime": {"zeros": 0.0}}],
    }


def test_a_damaged_table_of_regimes_is_a_note(results):
    (results / "tables").mkdir()
    (results / "tables" / f"x{regime_errors.SUFFIX}").write_text("[{")
    done = harness("report", "--results", results)
    assert done.returncode == 0
    assert f"x{regime_errors.SUFFIX}: not a table of regimes" in done.stderr
