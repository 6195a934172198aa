"""``bench`` and ``placement`` as a user sees them: tables, exit codes, one line for what cannot be."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stderr, redirect_stdout

import msgspec
import pytest

from harness.bench import planner, session
from harness.cli.main import main
from harness.records import schema
from harness.records.machine import Condition
from harness.records.run_files import RunFolder, read_records
from tests.harness.example_records import MAC, record
from tests.scripted import native

pytestmark = pytest.mark.usefixtures("_kept_children")

ON = "on-layer_norm"
REASON = "its process was ended by signal 9 (SIGKILL)"


def harness(*arguments):
    """Run the command line in this process; return exit code, stdout, stderr."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as exit_:
        main([str(argument) for argument in arguments])
    return int(exit_.value.code or 0), out.getvalue(), err.getvalue()


@pytest.fixture
def scripted(monkeypatch, script_path):
    """Let the commands use the scripted runtime, and this process alone take its rows; return what sets the script."""
    monkeypatch.setenv(native.VARIABLE, str(script_path))
    for module in (session, planner):
        monkeypatch.setattr(module, "PREPARE", "tests.scripted.runtime:prepare")
    monkeypatch.setattr(session, "MEASURE", "tests.scripted.runtime:measure")
    monkeypatch.setattr(planner, "PLACE", "tests.scripted.runtime:place")
    monkeypatch.setattr(session, "choose_executor", lambda _device="": "scripted")
    monkeypatch.setattr("harness.runtime.coreml.check_available", lambda: None)
    monkeypatch.setattr(schema, "EXECUTORS", (*schema.EXECUTORS, "scripted"))
    monkeypatch.setattr(schema, "DEVICE_SYSTEMS", (*schema.DEVICE_SYSTEMS, "Linux"))

    def script(lines=None):
        script_path.write_text(json.dumps({"*": {"predict_s": 0.001}, **(lines or {})}))

    script()
    return script


def test_a_bench_prints_a_row_per_variant_and_keeps_it(scripted, tmp_path):
    scripted({"off": {"predict_s": 0.004}, ON: {"predict_s": 0.002}})
    code, out, err = harness("bench", "llama", "--samples", 12, "--out", tmp_path)
    assert (code, "2 of 2 rows ok" in err) == (0, True), out + err
    rows = [[cell.strip() for cell in line.split("|")] for line in out.splitlines()]
    off, on = (dict(zip(rows[0], row, strict=True)) for row in rows[2:4])
    assert (off["executor"], off["variant"], on["lowering"]) == ("scripted", "off", "layer_norm")
    assert 4.0 < float(off["p50 ms"]) < 40.0
    ratio, low, high = (float(word.strip("()")) for word in on["against first"].replace(" to ", " ").split())
    assert low <= ratio <= high
    assert ratio < 1
    assert on["cost on ANE"] == "100%"
    (path,) = (tmp_path / "runs").glob("*.jsonl")
    assert [len(one.samples["predict"]) for one in read_records(path)] == [12, 12]
    assert out.strip() == next((tmp_path / "tables").glob("*.md")).read_text().strip()


def test_a_bench_with_a_row_that_was_killed_is_exit_code_1_and_says_so(scripted, tmp_path):
    scripted({ON: {"at": {"load 1": "kill"}}})
    code, out, err = harness("bench", "llama", "--samples", 4, "--out", tmp_path, "--format", "tsv")
    assert (code, "1 of 2 rows ok" in err) == (1, True)
    header, off, on = (line.split("\t") for line in out.splitlines())
    assert (off[header.index("status")], on[header.index("status")]) == ("ok", "killed")
    assert REASON in on[-1]


def test_strict_refuses_to_begin_on_battery(scripted, tmp_path, monkeypatch):
    monkeypatch.setattr("harness.bench.condition.condition", lambda: Condition(power="battery", low_power_mode=True))
    code, out, err = harness("bench", "llama", "--strict", "--out", tmp_path)
    assert (code, out) == (2, "")
    assert err == "ane-harness: --strict refuses to measure here: on battery, low power mode\n"
    assert not list(tmp_path.rglob("*.jsonl"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("bench", "lama"), "unknown model 'lama'. Did you mean llama"),
        (("bench", "llama", "--units", "ANE"), "unknown compute unit 'ANE'"),
        (("bench", "llama", "--shape", "flexible"), "unknown shape 'flexible'. Known: decode, prefill."),
        (("bench", "llama", "--sustain", "long"), "--sustain: expected a time such as 90s"),
        (("bench", "llama", "--limit", "-3"), "--limit: expected a time"),
        (("bench", "llama", "--device", "phone"), "Core ML needs macOS; this is Linux"),
        (("bench", "--norm", "--widths", "64,wide"), "--widths: expected whole numbers such as 64,1024, got '64,wide'"),
        (("placement", "llama"), "Core ML needs macOS; this is Linux"),
        (("placement", "some.mlpackage"), "Core ML needs macOS; this is Linux"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, words, tmp_path):
    more = ("--out", tmp_path) if arguments[0] == "bench" else ()
    code, out, err = harness(*arguments, *more)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert words in err


def test_require_ane_turns_a_missing_neural_engine_into_a_failure(tmp_path, monkeypatch):
    monkeypatch.setenv("REQUIRE_ANE", "1")
    code, _, err = harness("bench", "llama", "--out", tmp_path)
    assert (code, "REQUIRE_ANE=1 asks for it" in err) == (2, True)


def test_placement_of_a_model_shows_ops_shares_norms_and_what_moved(scripted):
    scripted({"off": {"devices": {"rsqrt": "cpu"}}})
    code, out, err = harness("placement", "llama")
    assert code == 0, err
    assert out.strip().endswith("planned, not traced: Core ML may run an op elsewhere than it plans to")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in out.splitlines() if line.startswith("|")]
    norms = [row for row in rows if len(row) == 6 and row[-1] == "norm"]
    assert [(row[1], row[2], row[3]) for row in norms] == [("rsqrt", "cpu", "cpu")] * 2 + [
        ("layer_norm", "ane", "ane cpu")
    ] * 2
    header = next(row for row in rows if row[0] == "program")
    off, on = (dict(zip(header, row, strict=True)) for row in rows if row[0] in ("off", "on layer_norm"))
    assert (off["norms"], off["hand-offs"], off["cpu"]) == ("2 cpu", "4", "2")
    assert (on["norms"], on["hand-offs"], on["ops on ANE"], on["cost on ANE"]) == ("2 ane", "0", "100%", "100%")
    assert ["rsqrt", "cpu", "2", "0"] in rows
    assert ["layer_norm", "ane", "0", "2"] in rows


def test_placement_of_a_package_in_other_units(scripted, tmp_path):
    package = native.package(tmp_path / "mine.mlpackage", "layer_norm")
    code, out, err = harness("placement", package, "--units", "CPU_ONLY", "--no-ops")
    assert code == 0, err
    row = next(line for line in out.splitlines() if line.startswith("| mine.mlpackage"))
    assert "2 cpu" in row
    assert "0%" in row
    scripted({"mine": {"at": {"plan": "kill"}}})
    code, out, err = harness("placement", package)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "SIGKILL" in err


@pytest.mark.slow
def test_two_packages_are_timed_against_each_other(scripted, tmp_path):
    plain, fused = native.package(tmp_path / "plain.mlpackage"), native.package(tmp_path / "fused.mlpackage", "max_abs")
    scripted({"plain": {"predict_s": 0.004}, "fused": {"predict_s": 0.002}})
    code, out, err = harness("bench", plain, fused, "--samples", 12, "--results", tmp_path)
    assert code == 0, out + err
    lines = [[cell.strip() for cell in line.split("|")] for line in out.splitlines()]
    first, second = (dict(zip(lines[0], line, strict=True)) for line in lines[2:4])
    assert (first["model"], first["variant"], second["model"]) == ("plain.mlpackage", "package", "fused.mlpackage")
    assert float(second["against first"].split()[0]) < 1
    (path,) = (tmp_path / "runs").glob("*.jsonl")
    rows = list(read_records(path))
    assert [len(one.samples["predict"]) for one in rows] == [12, 12]
    assert rows[0].pair == rows[1].pair != ""
    assert len({one.definition for one in rows}) == 2


@pytest.mark.slow
def test_two_benches_are_compared_and_a_slower_one_is_a_regression(scripted, tmp_path):
    runs = []
    for number, seconds in enumerate((0.002, 0.008)):
        scripted({"off": {"predict_s": 0.004}, ON: {"predict_s": seconds}})
        out = tmp_path / str(number)
        assert harness("bench", "llama", "--samples", 60, "--out", out)[0] == 0
        runs += (out / "runs").glob("*.jsonl")
    code, out, _ = harness("compare", *runs)
    assert code == 1
    (line,) = (line for line in out.splitlines() if "regression" in line and "| predict " in line)
    assert "llama on" in line
    slower = tmp_path / "slower.jsonl"
    lines = [msgspec.structs.replace(one, environment=MAC) for one in read_records(runs[1])]
    slower.write_bytes(b"".join(msgspec.json.encode(one) + b"\n" for one in lines))
    _, out, _ = harness("compare", runs[0], slower)
    assert "not comparable" in out
    assert "another machine" in out
    _, out, _ = harness("compare", runs[0], slower, "--across-machines")
    assert "across machines" in out


def test_a_bench_misses_no_model_that_it_was_not_asked_for(scripted, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    assert harness("bench", "llama", "qwen3", "--samples", 12, "--out", first)[0] == 0
    assert harness("bench", "qwen3", "--variant", "on", "--samples", 12, "--out", second)[0] == 0
    code, out, err = harness("compare", first, second)
    assert ("vanished" in out, "3 rows of the base were not asked for" in err) == (False, True), out + err
    assert code in (0, 1)  # what the machine's load makes of the times


def test_results_take_no_row_of_a_stand_in(tmp_path):
    folder = RunFolder.new(tmp_path)
    stood_in = record(executor="scripted", environment=MAC)
    elsewhere = record(executor="coreml", environment=msgspec.structs.replace(MAC, os="Linux 6.8"))
    for one, words in ((stood_in, "no rows of executor 'scripted'"), (elsewhere, "cannot come from Linux 6.8")):
        with pytest.raises(Exception, match=words):
            folder.append(one)
    for good in (record(executor="coreml", environment=MAC), record(environment=elsewhere.environment)):
        folder.append(good)
    folder.close()
    assert [one.executor for one in read_records(folder.records)] == ["coreml", "reference"]
