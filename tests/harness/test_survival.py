"""Runs that are killed, resumed, crowded, or short of disk: no record is lost, none is doubled, and a line says why."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import psutil
import pytest

from harness.plan.run_plan import row_of
from harness.records.run_files import RunFolder, read_records
from harness.zoo.catalog import load_zoo, models_folder
from tests.harness.command_line import harness
from tests.harness.example_records import record, write_run

ROOT = Path(__file__).parents[2]
HANDLERS = Path(__file__).parent / "workers"
DRIVER = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from harness.run import jobs; jobs.HANDLER = 'handlers:' + sys.argv.pop(1); "
    "jobs.MODULES = jobs.MODULES if jobs.HANDLER == 'handlers:faulty' else (); "  # the others need no library
    "from harness.cli.main import main; main(sys.argv[1:])"
)
"""The command line, with models that are played by a handler of `tests/harness/workers/handlers.py`. It heeds Ctrl-C
though the tests may not: a shell has what it starts with ``&`` ignore that."""
LASTING = ("time", "seconds", "cached", "peak_memory_bytes")
"""Fields of a record that differ from run to run of the same thing; ``cached`` says what ``seconds`` are of."""


def command(handler, *arguments):
    return [sys.executable, "-c", DRIVER, handler, *map(str, arguments)]


def environment(**more):
    return {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{HANDLERS}", **more}


def played(handler, *arguments, timeout=300, **more):
    return subprocess.run(
        command(handler, *arguments),
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
        env=environment(**more),
    )


def lasting(path, run_id=""):
    """Return a run's records by row, without what differs from run to run."""
    found = {}
    for one in read_records(path):
        row = row_of(one)
        assert row not in found, f"{row} stands twice in {path}"
        fields = msgspec.to_builtins(one)
        found[row] = {name: value for name, value in fields.items() if name not in (*LASTING, "run_id")}
    return found


def the_run(out):
    (path,) = (out / "runs").glob("*.jsonl")
    return path


def kill_after(seconds, process):
    """Kill a run and wait until its children are gone too."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        below = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait()
        psutil.wait_procs(below, timeout=20)
        return True
    return False


def killed_and_resumed(out, generator, most):
    """Run the nightly tier, killing and resuming it up to so many times until it is through; return the kills."""
    arguments = ("run", "--tier", "nightly", "--out", out)
    for kills in range(most):
        process = subprocess.Popen(command("rows", *arguments), env=environment(), stdout=-3, stderr=-3)
        # Starting takes most of a second; the kills fall on starting, on work, and on the first appends.
        if not kill_after(generator.uniform(0.2, 2.2), process):
            assert process.returncode == 0
            return kills
        if runs := list((out / "runs").glob("*.jsonl")):
            if runs[0].with_suffix(".json").exists():
                arguments = ("run", "--resume", runs[0].stem, "--out", out)
            else:
                runs[0].unlink()  # killed before it was a run
    done = played("rows", *arguments)
    assert done.returncode == 0, done.stderr
    return most


@pytest.mark.parametrize("most", [2, pytest.param(50, marks=pytest.mark.slow)])
def test_runs_killed_again_and_again_end_with_each_row_once(tmp_path, most):
    whole = tmp_path / "whole"
    assert played("rows", "run", "--tier", "nightly", "--out", whole).returncode == 0
    generator = random.Random(7)  # noqa: S311 - moments of a kill
    kills = 0
    while kills < most:
        broken = tmp_path / f"broken after {kills}"
        kills += killed_and_resumed(broken, generator, most - kills)
        assert lasting(the_run(broken)) == lasting(the_run(whole))


@pytest.mark.slow
def test_a_run_of_real_models_killed_and_resumed_is_the_undisturbed_one(tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    models = ("llama", "olmo", "qwen3")
    assert played("faulty", "run", *models, "--out", whole).returncode == 0
    arguments = ("run", *models, "--out", broken)
    for seconds in (9, 12, 15, 11):
        process = subprocess.Popen(command("faulty", *arguments), env=environment(), stdout=-3, stderr=-3)
        kill_after(seconds, process)
        arguments = ("run", "--resume", the_run(broken).stem, "--out", broken)
    assert played("faulty", *arguments).returncode == 0
    assert lasting(the_run(broken)) == lasting(the_run(whole))


@pytest.fixture
def faulty_zoo(tmp_path, monkeypatch):
    """Return a zoo of two sound models, four that do harm, and a file that is none."""
    folder = tmp_path / "models"
    folder.mkdir()
    llama = (models_folder() / "llama.toml").read_text()
    for key in ("first", "grow", "hang", "raise", "segfault", "zlast"):
        (folder / f"{key}.toml").write_text(llama)
    (folder / "bad.toml").write_text(llama.replace("gamma_seed = 1", "gamma_seed = 'one'"))
    monkeypatch.setenv("ANE_HARNESS_MODELS", str(folder))


@pytest.mark.usefixtures("faulty_zoo")
@pytest.mark.parametrize(
    ("handler", "workers", "limit", "memory"),
    [
        pytest.param("faulty", 1, "60s", "2500M", marks=pytest.mark.slow),
        pytest.param("faulty", 2, "60s", "5G", marks=pytest.mark.slow),
        ("faulty_rows", 2, "15s", "2G"),
    ],
)
def test_each_harmful_model_is_a_row_with_its_reason_and_the_others_are_whole(
    tmp_path, handler, workers, limit, memory
):
    out = tmp_path / "out"
    limits = ("--limit", limit, "--memory", memory)
    begin = time.monotonic()
    done = played(handler, "run", "--variant", "on", "-j", workers, *limits, "--out", out)
    assert time.monotonic() - begin < 7 * 60 + 60
    assert done.returncode == 2, done.stderr  # a zoo file cannot be used
    found = {record.model: record for record in read_records(the_run(out))}
    assert {key: record.status for key, record in found.items()} == {
        "bad": "failed",
        "first": "ok",
        "grow": "out of memory",
        "hang": "timed out",
        "raise": "failed",
        "segfault": "killed",
        "zlast": "ok",
    }
    assert "gamma_seed: expected an integer, got 'one'" in found["bad"].reason
    assert "SIGSEGV" in found["segfault"].reason
    assert "ValueError: two lines" in found["raise"].reason
    assert "limit of" in found["hang"].reason
    assert found["first"].metrics == found["zlast"].metrics
    assert "Traceback" not in done.stderr


def test_two_workers_make_the_records_of_one(tmp_path):
    for workers in (1, 2):
        assert played("rows", "run", "-j", workers, "--out", tmp_path / str(workers)).returncode == 0
    one, two = (lasting(the_run(tmp_path / str(workers))) for workers in (1, 2))
    assert one == two
    assert list(one) == [(key, case) for key, case in one if key in load_zoo()]


def test_two_runs_at_once_in_one_folder_keep_apart(tmp_path):
    processes = [
        subprocess.Popen(command("rows", "run", "--out", tmp_path), env=environment(), stdout=-3, stderr=-3)
        for _ in range(2)
    ]
    assert [process.wait(120) for process in processes] == [0, 0]
    first, second = sorted((tmp_path / "runs").glob("*.jsonl"))
    assert lasting(first) == lasting(second)


def test_a_run_that_another_process_writes_is_not_resumed(tmp_path):
    folder = RunFolder.new(tmp_path)
    done = harness("run", "--resume", folder.run_id, "--out", tmp_path)
    assert done.returncode == 2
    assert "another process is writing this run" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--resume", "../../etc/passwd"), "is no run's id"),
        (("--resume", "20260131T235959.123456Z"), "no such run"),
        (("--resume", "20260131T235959.123456Z", "--tier", "nightly"), "leave out 'tier'"),
        (("--limit", "soon"), "--limit: expected a time such as 90s"),
        (("--memory", "lots"), "--memory: expected a size such as 20G"),
        (("--memory", "3"), "--memory: 3 bytes hold no model; name the unit: 3G"),
    ],
)
def test_what_cannot_be_resumed_or_limited_is_one_line(arguments, line, tmp_path):
    done = harness("run", *arguments, "--out", tmp_path)
    assert done.returncode == 2
    assert line in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_an_interrupted_run_keeps_what_was_done_and_leaves_no_child(tmp_path):
    process = subprocess.Popen(
        command("faulty", "run", "llama", "--out", tmp_path), env=environment(), stdout=-3, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 60
    while not (below := psutil.Process(process.pid).children(recursive=True)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    with process.stderr:
        assert b"interrupted; 0 of 3 rows kept" in process.stderr.read()
    assert psutil.wait_procs(below, timeout=20)[1] == []


def test_a_full_disk_ends_with_a_sentence_and_an_intact_store(tmp_path, monkeypatch):
    folder = RunFolder.new(tmp_path / "results")
    folder.append(record())
    before = folder.records.read_bytes()
    write, left = os.write, [100]

    def full(descriptor, data):
        """Take 100 bytes more and then none."""
        if not left[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        left[0], count = 0, write(descriptor, data[: left[0]])
        return count

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(Exception, match=f"No space left on device.*--resume {folder.run_id}"):
        folder.append(record())
    assert folder.records.read_bytes() == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_one_line(tmp_path):
    tmp_path.chmod(0o500)
    done = played("rows", "run", "--out", tmp_path / "results")
    assert (done.returncode, "cannot write results there" in done.stderr) == (2, True)


def test_a_clock_that_jumps_back_is_said_and_the_order_kept(tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "29991231T235959.000000Z.jsonl").touch()
    said = []
    folder = RunFolder.new(tmp_path, said.append)
    assert folder.run_id == "29991231T235959.000001Z"
    assert "the clock is behind the newest run" in said[0]


def test_a_torn_line_is_cut_before_a_run_goes_on(tmp_path):
    path = write_run(tmp_path, "20260101T000000.000000Z", [record()])
    whole = path.read_bytes()
    path.write_bytes(whole + whole[: len(whole) // 2])
    folder = RunFolder.resume(tmp_path, path.stem)
    folder.append(record())
    folder.close()
    assert path.read_bytes() == whole + msgspec.json.encode(record()) + b"\n"
