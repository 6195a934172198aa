"""What the cache saves: a second run of the quick tier against the first. Run with ``pytest -m bench -k cache``."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.records.run_files import read_records

pytestmark = [pytest.mark.bench, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
SHARE = 0.15
"""Largest share of the first run's wall time that the second may take."""


def run(folder: Path, name: str) -> tuple[float, list]:
    """Return the wall time of a run of the quick tier, in seconds, and its records."""
    environment = os.environ | {"ANE_HARNESS_CACHE": str(folder / "cache")}
    command = [sys.executable, "-m", "harness", "run", "--out", str(folder / name)]
    begin = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - begin
    assert done.returncode == 0, done.stderr
    (records,) = (folder / name / "runs").glob("*.jsonl")
    return seconds, list(read_records(records))


@pytest.mark.timeout(3600)
def test_a_second_run_of_the_quick_tier(tmp_path, capsys):
    first, made = run(tmp_path, "first")
    second, kept = run(tmp_path, "second")
    with capsys.disabled():
        print(f"\nfirst {first:.1f} s, second {second:.1f} s: {second / first:.3f}")  # noqa: T201 - the result
    assert not any(record.cached for record in made)
    assert all(record.cached for record in kept)
    assert [record.metrics for record in kept] == [record.metrics for record in made]
    assert second / first <= SHARE
