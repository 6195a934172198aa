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

HERE = Path(__file__).parent
ENVIRONMENT = {"PYTHONPATH": str(HERE)}


@pytest.fixture(scope="module")
def child():
    child = Child(ENVIRONMENT)
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
