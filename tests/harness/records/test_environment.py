"""The environment that records carry."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from harness.records.environment import environment

ROOT = Path(__file__).parents[3]


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a checkout")
def test_records_name_the_commit_that_made_them():
    head = subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    assert environment().git_commit == head.stdout.strip()
