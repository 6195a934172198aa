"""What a selection of tests runs: slow ones where it speaks of them, and nowhere else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SELECTIONS = {"bench": (True, False), "bench and slow": (False, True), "not slow": (True, False)}
"""Whether a selection has tests that are quick, and tests that are slow, by what is given to ``-m``."""

COLLECT = """
import sys, pytest
for selection in sys.argv[1:]:
    print(f"== {selection}")
    pytest.main(["--collect-only", "-q", "-m", selection, "tests/bench"])
"""


@pytest.fixture(scope="module")
def collected():
    """Return what pytest collects, by selection; one process imports what they share."""
    command = [sys.executable, "-c", COLLECT, *SELECTIONS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    _, *parts = done.stdout.split("== ")
    return dict(part.split("\n", 1) for part in parts)


@pytest.mark.parametrize("selection", SELECTIONS)
def test_slow_tests_run_where_the_selection_names_them(collected, selection):
    quick, slow = SELECTIONS[selection]
    assert ("test_latency_bench.py::test_predict" in collected[selection]) is quick, collected[selection]
    assert ("test_executor_bench.py::" in collected[selection]) is slow
