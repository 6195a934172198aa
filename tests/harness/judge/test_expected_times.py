"""Times in baselines: written on request, by machine, and judged for runs on the same machine alone."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from harness.records import baselines
from tests.harness.cli.test_verdicts import harness
from tests.harness.example_records import MAC, record, write_run

replace = msgspec.structs.replace
OTHER = replace(MAC, chip="Apple M1")
FINGERPRINT = "macOS 15.5 (24F74), arm64, Apple M4, 10 cores, 24 GiB"


def timed(level, variant="on", *, seed=1, **fields):
    samples = level * np.exp(np.random.default_rng(seed).normal(0, 0.005, 30))
    return record("llama", variant, executor="coreml", samples={"predict": tuple(samples.tolist())}, **fields)


def expected(results):
    return {one.variant: one.times for one in baselines.read_folder(results / "baselines")["llama"].rows}


def verdicts(results, *records):
    """Return the exit code of the comparison with the baselines, and the lines about times."""
    write_run(results, "20260109T000000.000000Z", records)
    code, out, _ = harness("compare", "baselines", "latest", "--all", "--results", results, "--format", "tsv")
    return code, [line for line in out.splitlines() if "predict" in line]


def expect(results, *options):
    return harness("expect", "--update", *options, "--results", results)[0]


@pytest.fixture
def results(tmp_path):
    """Return a results folder whose baselines have times of one machine."""
    write_run(tmp_path, "20260101T000000.000000Z", [timed(2e-3)])
    assert expect(tmp_path, "--times") == 0
    return tmp_path


def test_times_are_written_only_on_request(tmp_path):
    write_run(tmp_path, "20260101T000000.000000Z", [timed(2e-3)])
    assert expect(tmp_path) == 0
    assert expected(tmp_path) == {"on": {}}
    assert expect(tmp_path, "--times") == 0
    times = expected(tmp_path)["on"]
    assert list(times) == [FINGERPRINT]
    assert times[FINGERPRINT].samples["predict"] == pytest.approx(timed(2e-3).samples["predict"], rel=1e-5)


@pytest.mark.parametrize(("level", "code", "kind"), [(2e-3, 0, "unchanged"), (2.8e-3, 1, "regression")])
def test_a_run_on_the_same_machine_is_judged_by_them(results, level, code, kind):
    found, (line,) = verdicts(results, timed(level, seed=2))
    assert (found, kind in line) == (code, True)


def test_a_run_on_another_machine_is_not(results):
    assert verdicts(results, timed(2.8e-3, environment=OTHER)) == (0, [])


def test_a_run_without_times_is_not(results):
    assert verdicts(results, replace(timed(2e-3), samples={})) == (0, [])


def test_times_of_several_machines_are_side_by_side(results):
    write_run(results, "20260102T000000.000000Z", [timed(5e-3, environment=OTHER)])
    assert expect(results, "--times") == 0
    assert [key.split(", ")[2] for key in expected(results)["on"]] == ["Apple M4", "Apple M1"]
    assert verdicts(results, timed(2.8e-3, seed=2))[0] == 1
    assert verdicts(results, timed(5e-3, seed=2, environment=OTHER))[0] == 0


def test_an_update_without_times_leaves_them(results):
    before = expected(results)
    write_run(results, "20260102T000000.000000Z", [timed(2.8e-3, ops_after=99)])
    assert expect(results) == 0
    assert expected(results) == before


def test_another_definition_ends_them(tmp_path):
    write_run(tmp_path, "20260101T000000.000000Z", [timed(2e-3, definition="old")])
    assert expect(tmp_path, "--times") == 0
    write_run(tmp_path, "20260102T000000.000000Z", [timed(2.8e-3, definition="new")])
    assert expect(tmp_path) == 0
    assert expected(tmp_path) == {"on": {}}


def test_rows_measured_in_turn_are_judged_against_off_beside_them(tmp_path):
    session = [timed(3e-3, "off", pair="one"), timed(2e-3, seed=2, pair="one")]
    write_run(tmp_path, "20260101T000000.000000Z", session)
    assert expect(tmp_path, "--times") == 0
    _, lines = verdicts(tmp_path, timed(3.3e-3, "off", seed=3, pair="two"), timed(2.2e-3, seed=4, pair="two"))
    (on,) = [line for line in lines if "on layer_norm" in line]
    assert "against off beside it" in on
    assert "unchanged" in on
