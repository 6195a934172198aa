"""``nightly``: one finished run judged into a page, a report and a JUnit file."""

from __future__ import annotations

import json
from xml.etree import ElementTree as ET

import pytest
import yaml

from harness.judge import night as judged
from harness.judge.night import Night
from harness.records.lookup import Side
from harness.records.verdicts import Verdict
from harness.report.junit import junit
from tests.harness.cli.test_verdicts import harness
from tests.harness.example_records import NORMS, record, sites, write_run


@pytest.fixture
def results(tmp_path):
    write_run(tmp_path, "20260101", [record("llama"), record("qwen3"), record("gemma2")])
    assert harness("expect", "--update", "--results", tmp_path)[0] == 0
    lost = record("llama", fused=2, missed=1, sites=sites(*NORMS[:2], missed=NORMS[2:]), seconds={"convert": 2.5})
    write_run(tmp_path, "20260102", [lost, record("qwen3", ops_after=100), record("<script>")])
    return tmp_path


def test_a_night_is_judged_into_three_files(results, snapshot):
    code, out, err = harness("nightly", "--results", results)
    assert code == 1
    tables = results / "tables"
    assert (tables / "nightly.md").read_text(encoding="utf-8") == snapshot
    assert (tables / "nightly.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert all(name in out + err for name in ("nightly.md", "nightly.html", "nightly.xml"))


def test_the_junit_file_has_a_suite_a_model(results):
    harness("nightly", "--results", results)
    root = ET.parse(results / "tables" / "nightly.xml").getroot()  # noqa: S314 - written by this test
    assert (root.tag, root.attrib["failures"], root.attrib["tests"]) == ("testsuites", "2", "4")
    suites = {suite.attrib["name"]: suite for suite in root.iter("testsuite")}
    assert list(suites) == ["<script>", "gemma2", "llama", "qwen3"]
    (case,) = suites["llama"]
    assert case.attrib == {"classname": "llama", "name": "llama on layer_norm: fused of model.norm", "time": "2.500"}
    assert "is not fused any more" in case.find("failure").attrib["message"]
    assert "fewer ops" in suites["qwen3"][0].findtext("system-out")
    assert suites["<script>"][0].find("skipped") is not None


def test_control_characters_do_not_break_the_file():
    verdict = Verdict("regression", "a\x00b", "a\x1b[31m", "status", "failed: \ufffe\x07 <&>")
    night = Night(Side("x\x01", [record()]), None, [verdict], [], None, [])
    (suite,) = ET.fromstring(junit(night)).iter("testsuite")  # noqa: S314 - as above
    assert suite[0].find("failure").attrib["message"].endswith("<&>")


def test_nothing_got_worse_is_exit_code_0(results):
    write_run(results, "20260103", [record("llama"), record("qwen3"), record("gemma2")])
    assert harness("nightly", "--results", results)[0] == 0
    assert "Nothing changed." in (results / "tables" / "nightly.md").read_text(encoding="utf-8")


def test_a_tier_narrows_the_page_the_report_and_the_tests_alike(results):
    assert harness("nightly", "--tier", "quick", "--results", results)[0] == 1
    for kind in ("md", "html", "xml"):
        text = (results / "tables" / f"nightly.{kind}").read_text(encoding="utf-8")
        assert "llama" in text
        assert not any(word in text for word in ("<script> on", "&lt;script&gt; on", '"\\u003cscript\\u003e"'))


def test_a_night_compares_once_and_reads_the_history_once(results, monkeypatch):
    calls = []
    for name in ("compare", "history"):
        real = getattr(judged, name)

        def counted(*given, _real=real, _name=name, **more):
            calls.append(_name)
            return _real(*given, **more)

        monkeypatch.setattr(judged, name, counted)
    harness("nightly", "--results", results)
    assert sorted(calls) == ["compare", "history"]


def test_an_issue_has_title_labels_and_the_regressions_as_json(results):
    path = results / "issue.json"
    assert harness("nightly", "--results", results, "--issue-file", path)[0] == 1
    told = json.loads(path.read_text(encoding="utf-8"))
    headline = (results / "tables" / "nightly.md").read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
    assert told["title"] == f"Night of 2026-01-01: {headline}"
    assert told["labels"] == ["regression", "missing", "unfused-norm"]
    assert "is not fused any more" in told["body"]
    assert "`ane-harness bisect gemma2 row`" in told["body"] or "`ane-harness bisect llama fused`" in told["body"]


def test_an_issue_as_markdown_has_front_matter(results):
    path = results / "issue.md"
    harness("nightly", "--results", results, "--issue-file", path)
    _, front, body = path.read_text(encoding="utf-8").split("---\n", 2)
    assert yaml.safe_load(front)["labels"] == ["regression", "missing", "unfused-norm"]
    assert "is not fused any more" in body


def test_a_night_that_is_green_leaves_no_issue(results):
    path = results / "issue.json"
    path.write_text("of the night before", encoding="utf-8")
    write_run(results, "20260103", [record("llama"), record("qwen3"), record("gemma2")])
    assert harness("nightly", "--results", results, "--issue-file", path)[0] == 0
    assert not path.exists()
