"""A comparison as a JUnit file, which build servers show: a test suite a model, a test case a verdict.

The format is three elements deep, so Python's own XML writer is all it takes: junitparser and junit-xml would bring a
package for that. A regression is a failure; what could not be compared is skipped; the rest passes, and what is
suspicious or better says so in the case's output.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from harness.system.text import plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.records.schema import Record
    from harness.records.verdicts import Verdict

SKIPPED = ("not comparable", "insufficient data")
SAID = ("suspicious", "improvement", "accepted")


def junit(name: str, verdicts: Sequence[Verdict], records: Sequence[Record] = ()) -> bytes:
    """Return the file.

    Parameters
    ----------
    name: of the comparison.
    verdicts: of it.
    records: the candidate's: the times of their steps are the times of the cases.
    """
    seconds = {record.row: sum(record.seconds.values()) for record in records}
    by_model: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        by_model.setdefault(verdict.model, []).append(verdict)
    root = ET.Element("testsuites", _counts(verdicts, name))
    for model, own in sorted(by_model.items()):
        suite = ET.SubElement(root, "testsuite", _counts(own, model))
        for verdict in own:
            _case(suite, verdict, seconds.pop(verdict.row, 0.0))
    ET.indent(root)
    text: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


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
