"""``nightly``: one finished run judged into a page, a report and a JUnit file."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

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


def test_a_night_is_judged_into_three_files(results):
    code, out, err = harness("nightly", "--results", results)
    assert code == 1
    tables = results / "tables"
    page = (tables / "nightly.md").read_text(encoding="utf-8")
    assert page.startswith("# 20260102 against baselines\n\n2 regression, 1 improvement, 1 not comparable")
    assert "norm model.norm is not fused any more" in page
    assert "gemma2: vanished" not in page  # the row is said once, in its column
    assert "| regression     | gemma2" in page
    assert "## Since when" in page
    assert (tables / "nightly.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert all(name in out + err for name in ("nightly.md", "nightly.html", "nightly.xml"))


def test_the_junit_file_has_a_suite_a_model(results):
    harness("nightly", "--results", results)
    root = ET.parse(results / "tables" / "nightly.xml").getroot()  # noqa: S314 - written by this test
    assert (root.tag, root.attrib["failures"], root.attrib["tests"]) == ("testsuites", "2", "4")
    suites = {suite.attrib["name"]: suite for suite in root}
    assert list(suites) == ["<script>", "gemma2", "llama", "qwen3"]
    (case,) = suites["llama"]
    assert case.attrib == {"classname": "llama", "name": "llama on layer_norm: fused of model.norm", "time": "2.500"}
    assert "is not fused any more" in case.find("failure").attrib["message"]
    assert "fewer ops" in suites["qwen3"][0].findtext("system-out")
    assert suites["<script>"][0].find("skipped") is not None


def test_control_characters_do_not_break_the_file():
    verdict = Verdict("regression", "a\x00b", "a\x1b[31m", "status", "failed: \ufffe\x07 <&>")
    (suite,) = ET.fromstring(junit("x\x01", [verdict]))  # noqa: S314 - as above
    assert suite[0].find("failure").attrib["message"].endswith("<&>")


def test_nothing_got_worse_is_exit_code_0(results):
    write_run(results, "20260103", [record("llama"), record("qwen3"), record("gemma2")])
    assert harness("nightly", "--results", results)[0] == 0
    assert "Nothing changed." in (results / "tables" / "nightly.md").read_text(encoding="utf-8")
