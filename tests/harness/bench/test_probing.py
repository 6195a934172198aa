"""The probes on a scripted device: measured beside published; a probe whose process ends is a line with its reason."""

from __future__ import annotations

import json

import pytest

from harness.bench import probing
from harness.engine import probes
from harness.report.probe_table import document
from tests.scripted import native

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("_kept_children")]

CHOSEN = ("mul: the whole range", "NaN is read as infinity", "sqrt(-1)")


@pytest.fixture
def rows(monkeypatch, script_path):
    """Return a function that runs three probes on a scripted M1 and returns the table's rows by probe."""
    monkeypatch.setenv(native.VARIABLE, str(script_path))
    monkeypatch.setattr(probing, "ANSWER", "tests.scripted.runtime:answer")
    monkeypatch.setattr(probes, "PROBES", tuple(probe for probe in probes.PROBES if probe.name in CHOSEN))

    def run(**script):
        script_path.write_text(json.dumps({"*": script}))
        (table,) = document([("m1", list(probing.run("scripted", "")))], "measured").tables
        header = [column.header for column in table.columns]
        assert header[3:5] == ["measured", "published"]
        return {row[1]: dict(zip(header, row, strict=True)) for row in table.rows}

    return run


def test_a_device_that_follows_no_rule_of_the_engine_differs_from_the_published_values(rows):
    found = rows(outputs="right")  # the reference executor's values, which are not the engine's
    assert (found["mul: the whole range"]["measured"], found["mul: the whole range"]["agreement"]) == (
        "65504",
        "agrees",
    )
    assert found["NaN is read as infinity"]["published"] == "inf"
    assert found["NaN is read as infinity"]["agreement"] == "differs"
    assert (found["sqrt(-1)"]["measured"], found["sqrt(-1)"]["agreement"]) == ("nan", "differs")


def test_a_device_whose_process_ends_gives_the_reason(rows):
    found = rows(at={"predict 1": "kill"})
    assert "SIGKILL" in found["sqrt(-1)"]["measured"]
    assert {row["agreement"] for row in found.values()} == {"differs"}
