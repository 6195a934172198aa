"""Commands in a real terminal of a width: no line of theirs is wider; what is piped stays Markdown."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from rich.cells import cell_len

from tests.harness.example_records import record, write_run
from tests.harness.report.documents import LONG, REASON

ROOT = Path(__file__).parents[3]
COMMANDS = """
import sys
from harness.cli.main import main
for words in (
    ["list"],
    ["doctor"],
    ["weights", "list"],
    ["cache", "list"],
    ["compare", "latest~1", "latest", "--all"],
    ["history", "--all"],
):
    print("==", *words)
    try:
        main([*words, *(["--results", sys.argv[1]] if words[0] in ("compare", "history") else [])])
    except SystemExit:
        pass
"""
"""In one process, which spares the imports."""


def on_terminal(width: int, code: str, *arguments: str, **more: str) -> str:
    """Return what a process prints on a pseudo-terminal of a width."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    child = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=follower,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
        env={**environment, **more},
    )
    os.close(follower)
    printed = b""
    while True:
        try:
            piece = os.read(leader, 1 << 16)
        except OSError:  # Linux: the other end is closed
            break
        if not piece:
            break
        printed += piece
    child.wait(timeout=60)
    os.close(leader)
    return printed.decode().replace("\r\n", "\n")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    failed = {"status": "failed", "reason": REASON, "metrics": {}, "fused": None, "sites": ()}
    write_run(folder, "20260101T000000.000000Z", [record("llama"), record(LONG)])
    write_run(folder, "20260102T000000.000000Z", [record("llama", fused=2), record(LONG, **failed)])
    return folder


@pytest.mark.parametrize("width", [80, 120])
def test_no_table_wraps_on_a_terminal(width, results, tmp_path):
    shown = on_terminal(width, COMMANDS, str(results), ANE_HARNESS_CACHE=str(tmp_path))
    assert [line for line in shown.splitlines() if line.startswith("==")] == [
        *("== list", "== doctor", "== weights list", "== cache list"),
        *("== compare latest~1 latest --all", "== history --all"),
    ]
    assert [line for line in shown.splitlines() if cell_len(line) > width] == []
    assert max(map(len, shown.splitlines())) > width * 0.8
    assert "|" not in shown
