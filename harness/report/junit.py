"""A comparison as a JUnit file, which build servers show, with a test suite per model and a test case per verdict.

The format is three elements deep, so Python's own XML writer suffices; junitparser and junit-xml would be another
dependency. A regression is a failure, and a row that could not be compared is skipped. The rest passes; the output of a
case says if its verdict is suspicious or an improvement.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from harness.system.text import plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.judge.night import Night
    from harness.records.verdicts import Verdict

SKIPPED = ("not comparable", "insufficient data")
SAID = ("suspicious", "improvement", "accepted")


def junit(night: Night) -> bytes:
    """Return the file of a night; the times of the run's steps are the times of the cases."""
    name, verdicts = night.title, night.verdicts or []
    seconds = {record.row: sum(record.seconds.values()) for record in night.run.records}
    by_model: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        by_model.setdefault(verdict.model, []).append(verdict)
    root = ET.Element("testsuites", _counts(verdicts, name))
    listed = ET.SubElement(root, "properties")
    for key, value in _properties(night).items():
        ET.SubElement(listed, "property", {"name": plain(key), "value": plain(value)})
    for model, own in sorted(by_model.items()):
        suite = ET.SubElement(root, "testsuite", _counts(own, model))
        for verdict in own:
            _case(suite, verdict, seconds.pop(verdict.row, 0.0))
    ET.indent(root)
    text: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def _properties(night: Night) -> dict[str, str]:
    """Return the properties of the suite that a build server shows: the headline, the run, its commit and versions."""
    env = night.run.records[0].environment
    versions = {f"version.{name}": version for name, version in env.versions.items()}
    return {"headline": night.headline, "run": night.run_id, "commit": env.git_commit, **versions}


def _counts(verdicts: Sequence[Verdict], name: str) -> dict[str, str]:
    return {
        "name": plain(name),
        "tests": str(len(verdicts)),
        "failures": str(sum(verdict.kind == "regression" for verdict in verdicts)),
        "errors": "0",
        "skipped": str(sum(verdict.kind in SKIPPED for verdict in verdicts)),
    }


def _case(suite: ET.Element, verdict: Verdict, seconds: float) -> None:
    """Add a case; the time of a row's steps is that of its first case, so that a suite's times add up."""
    about = {"classname": plain(verdict.model), "name": plain(f"{verdict.title}: {verdict.measure}")}
    if verdict.site:
        about["name"] += plain(f" of {verdict.site}")
    case = ET.SubElement(suite, "testcase", about | {"time": f"{seconds:.3f}"})
    sentence = plain(verdict.sentence)
    if verdict.kind == "regression":
        ET.SubElement(case, "failure", {"type": verdict.kind, "message": sentence}).text = sentence
    elif verdict.kind in SKIPPED:
        ET.SubElement(case, "skipped", {"message": f"{verdict.kind}: {sentence}"})
    elif verdict.kind in SAID:
        ET.SubElement(case, "system-out").text = f"{verdict.kind}: {sentence}"
