"""A child process that dies, hangs, grows or lies: each has its own status, and the next request is answered."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import psutil
import pytest

from harness.workers import Child, End, Item, Limits, Step
from harness.workers import child as module
from harness.workers.nursery import Nursery, fresh, surroundings

HERE = Path(__file__).parent
ENVIRONMENT = {"PYTHONPATH": str(HERE)}


NEEDS_FORK = pytest.mark.skipif(sys.platform != "linux", reason="children are forked on Linux alone")


@pytest.fixture(scope="module")
def nursery():
    nursery = Nursery(["handlers"], surroundings(ENVIRONMENT))
    yield nursery
    nursery.close()


@pytest.fixture(scope="module", params=["fresh", pytest.param("forked", marks=NEEDS_FORK)])
def child(request):
    start = fresh if request.param == "fresh" else request.getfixturevalue("nursery")
    child = Child(ENVIRONMENT, start=start)
    yield child
    child.close()


def ask(child, handler, body=None, **limits):
    """Return the items' values and the end."""
    messages = list(child.ask(f"handlers:{handler}", msgspec.json.encode(body), Limits(**limits)))
    assert isinstance(messages[-1], End)
    assert not any(isinstance(message, End) for message in messages[:-1])
    return [msgspec.json.decode(message.body) for message in messages if isinstance(message, Item)], messages[-1]


def test_steps_and_items_come_in_order_and_the_end_last(child):
    messages = list(child.ask("handlers:echo", b'[1, "a"]'))
    assert messages[:-1] == [
        Step("at 1"),
        Item(msgspec.Raw(b"1")),
        Step("at a"),
        Item(msgspec.Raw(b'"a"')),
    ]
    assert messages[-1].status == "ok"
    assert messages[-1].peak_memory_bytes > 1_000_000
    assert not messages[-1].log


def test_one_process_answers_request_after_request(child):
    assert ask(child, "pid")[0] == ask(child, "pid")[0]


def test_a_child_has_variables_that_the_user_has_not_set(monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.setenv("THP_MEM_ALLOC_ENABLE", "0")
    other = Child(ENVIRONMENT)
    assert ask(other, "variable", "OMP_WAIT_POLICY")[0] == ["PASSIVE"]
    assert ask(other, "variable", "THP_MEM_ALLOC_ENABLE")[0] == ["0"]
    other.close()


@pytest.mark.parametrize(
    ("handler", "status", "reason"),
    [
        ("segfault", "killed", "signal 11 (SIGSEGV) at: reading address 0"),
        ("abort", "killed", "signal 6 (SIGABRT)"),
        ("kill", "killed", "signal 9 (SIGKILL)"),
        ("leave", "failed", "exit code 7"),
        ("refuse", "failed", "llama: coremltools: no"),
        ("fail", "failed", "ValueError: two lines"),
        ("nonsense", "failed", "no message"),
        ("fork_and_leave", "killed", "SIGKILL"),
        ("absent", "failed", "has no attribute 'absent'"),
    ],
)
def test_what_ends_a_request_is_told_and_the_next_is_answered(child, handler, status, reason):
    _, end = ask(child, handler)
    assert (end.status, reason in end.reason) == (status, True), end
    assert ask(child, "echo", [3])[0] == [3]


def test_what_came_before_the_end_is_kept(child):
    assert ask(child, "segfault")[0] == [1]


def test_the_log_of_a_failed_request_is_its_own(child):
    assert "something was wrong" in ask(child, "abort")[1].log
    assert "something was wrong" not in ask(child, "kill")[1].log


@pytest.mark.parametrize("handler", ["hang", "hang_natively"])
def test_a_hang_ends_at_its_time_limit(child, handler):
    begin = time.monotonic()
    _, end = ask(child, handler, seconds=1.0)
    assert (end.status, "passed its limit of 1 s" in end.reason) == ("timed out", True)
    assert time.monotonic() - begin < 10


@pytest.mark.parametrize("handler", ["allocate", "fork_and_allocate"])
def test_one_that_allocates_without_end_is_out_of_memory(child, handler):
    _, end = ask(child, handler, memory_bytes=300_000_000, seconds=60)
    assert end.status == "out of memory"
    assert 300_000_000 < end.peak_memory_bytes < 1_500_000_000


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA counts private mappings on Linux alone")
def test_an_allocation_far_past_the_limit_is_refused_by_the_system(child):
    assert ask(child, "allocate_at_once", memory_bytes=300_000_000)[1].status == "out of memory"


def test_output_without_end_does_not_fill_the_disk(child, monkeypatch):
    monkeypatch.setattr(module, "LOG_LIMIT_BYTES", 1 << 20)
    _, end = ask(child, "flood")
    assert end.status == "ok"
    assert os.fstat(child._log.fileno()).st_size < 150 << 20


def test_a_child_that_grew_is_replaced():
    child = Child(ENVIRONMENT, recycle_bytes=1)
    first, second = (ask(child, "pid")[0] for _ in range(2))
    child.close()
    assert first != second


def test_close_ends_all_below_it():
    child = Child(ENVIRONMENT)
    child.start("handlers:fork_and_allocate", b"null")
    deadline = time.monotonic() + 20
    while not (below := psutil.Process(child._process.pid).children(recursive=True)):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    child.close()
    for process in below:
        process.wait(timeout=10)


def test_a_child_whose_parent_was_killed_ends():
    code = (
        "from harness.workers import Child; import time; child = Child(); child.start('handlers:hang', b'null'); "
        "print(child._process.pid, flush=True); time.sleep(3600)"
    )
    root = HERE.parents[2]
    environment = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{HERE}"}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment) as parent:
        grandchild = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    grandchild.wait(timeout=20)


@NEEDS_FORK
def test_a_forked_child_has_the_surroundings_it_would_have_afresh(nursery, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = []
    for start in (fresh, nursery):
        child = Child({**ENVIRONMENT, "MODEL": "llama"}, start=start)
        told.append(ask(child, "where")[0])
        child.close()
    assert told[0] == told[1] == [["llama", str(tmp_path)]]


@NEEDS_FORK
def test_children_of_a_dead_nursery_work_on_and_the_next_are_started_afresh():
    nursery = Nursery(["handlers"], surroundings(ENVIRONMENT))
    first, second = (Child(ENVIRONMENT, start=nursery) for _ in range(2))
    before = ask(first, "pid")[0]
    nursery._process.kill()
    nursery._process.wait()
    assert ask(first, "pid")[0] == before
    assert ask(second, "echo", [3])[0] == [3]
    assert ask(first, "segfault")[1].status == "killed"  # its own status is lost with the nursery
    assert ask(first, "echo", [3])[0] == [3]
    for one in (first, second, nursery):
        one.close()


@NEEDS_FORK
def test_a_nursery_whose_import_hangs_keeps_no_request_past_its_limit(tmp_path):
    (tmp_path / "slow_module.py").write_text("import time; time.sleep(3600)")
    nursery = Nursery(["slow_module"], surroundings({"PYTHONPATH": os.pathsep.join([str(tmp_path), str(HERE)])}))
    child = Child(ENVIRONMENT, start=nursery)
    assert ask(child, "echo", [3], seconds=1.0)[1].status == "timed out"
    assert ask(child, "echo", [3])[0] == [3]
    child.close()


@NEEDS_FORK
def test_forked_children_end_with_their_parent():
    code = (
        "from harness.workers import Child; from harness.workers.nursery import Nursery, surroundings; import time; "
        "nursery = Nursery(['handlers'], surroundings({})); child = Child(start=nursery); "
        "child.start('handlers:hang', b'null'); \n"
        "while not child._process.pid: child._process.poll(); time.sleep(0.01)\n"
        "print(child._process.pid, nursery._process.pid, flush=True); time.sleep(3600)"
    )
    environment = {**os.environ, "PYTHONPATH": f"{HERE.parents[2]}{os.pathsep}{HERE}"}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment) as parent:
        below = [psutil.Process(int(pid)) for pid in parent.stdout.readline().split()]
        parent.kill()
    for process in below:
        process.wait(timeout=20)
