"""Memory of a process and those below it, whether the system lists them or the process table is searched."""

from __future__ import annotations

import os
import subprocess
import sys

import psutil
import pytest

from harness.workers import memory

HOLD = "import sys; held = bytearray(b'1' * (64 << 20)); print('held', flush=True); sys.stdin.read()"
PARENT = f"""
import subprocess, sys, threading
def run():
    subprocess.run([sys.executable, "-c", {HOLD!r}], check=False)
thread = threading.Thread(target=run)
thread.start()
thread.join()
"""


@pytest.fixture
def holding():
    """Return a process, a thread of which has a child of 64 MiB."""
    process = subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process.stdout.readline()
    yield process
    process.communicate()


@pytest.mark.parametrize("lists", [True, False])
def test_a_child_of_any_thread_counts(holding, lists, monkeypatch):
    if lists and not memory._lists_children():
        pytest.skip("the system does not list the children of a thread")
    monkeypatch.setattr(memory, "_lists_children", lambda: lists)
    alone = memory.resident_bytes(holding.pid, below=False)
    (child,) = psutil.Process(holding.pid).children()
    assert memory.resident_bytes(holding.pid) - alone == pytest.approx(child.memory_info().rss, rel=0.05)
    mine = memory.resident_bytes(os.getpid()) - memory.resident_bytes(os.getpid(), below=False)
    assert mine > 64 << 20  # a grandchild


def test_a_process_that_has_exited_holds_nothing(holding):
    holding.communicate()
    assert memory.resident_bytes(holding.pid) == 0
