"""Samples measured elsewhere arrive in pytest-benchmark's JSON, which its own compare then reads."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CASE = """
    import pytest
    from tests.bench.replay import Replay

    REPLAY = Replay()

    @pytest.mark.parametrize("variant", ["off", "on"])
    @pytest.mark.benchmark(timer=REPLAY)
    def test_predict(benchmark, variant):
        REPLAY.into(benchmark, {"off": [0.003, 0.001, 0.002], "on": [0.5, 0.25]}[variant], executor="reference")
"""


@pytest.fixture
def saved(pytester):
    """Save a run of two benchmarks, and return the JSON file."""
    pytester.makepyfile(CASE)
    root = Path(__file__).parents[3]
    command = [sys.executable, "-m", "pytest", "--benchmark-json=out.json", f"--rootdir={pytester.path}", "-q"]
    command += ["-o", f"pythonpath={root}", "-p", "no:cacheprovider"]
    alone = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
    done = subprocess.run(command, cwd=pytester.path, env=alone, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    return pytester.path / "out.json"


def test_every_sample_arrives_as_it_is(saved):
    found = {one["params"]["variant"]: one for one in json.loads(saved.read_text())["benchmarks"]}
    assert found["off"]["stats"]["data"] == pytest.approx([0.003, 0.001, 0.002])
    assert found["on"]["stats"]["data"] == pytest.approx([0.5, 0.25])
    assert found["off"]["stats"]["median"] == pytest.approx(0.002)
    assert found["off"]["extra_info"] == {"executor": "reference"}


def test_pytest_benchmark_compares_it(saved):
    other = shutil.copy(saved, saved.with_name("other.json"))  # one file given twice, it cannot compare
    command = [sys.executable, "-m", "pytest_benchmark", "compare", str(saved), str(other)]
    done = subprocess.run(command, cwd=saved.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("test_predict[on]") == 2
