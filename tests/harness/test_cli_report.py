"""``harness report``: which run, compared with what, written where."""

from __future__ import annotations

import pytest

from harness.expect import propose
from harness.store import baselines
from harness.store.find import Side
from tests.harness.report import records
from tests.harness.test_cli import harness

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
    assert done.stdout == f"1 regression in 1 row: {path}\n"
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
