"""What a selection of tests runs: slow ones where it speaks of them, and nowhere else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("selection", "quick", "slow"), [("bench", True, False), ("bench and slow", False, True), ("not slow", True, False)]
)
def test_slow_tests_run_where_the_selection_names_them(selection, quick, slow):
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", selection, "tests/bench"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ("test_latency_bench.py::test_predict" in done.stdout) is quick, done.stdout
    assert ("test_executor_bench.py::" in done.stdout) is slow
