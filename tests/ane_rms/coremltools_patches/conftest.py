"""Fixtures of tests that convert in several threads, or are interrupted."""

from __future__ import annotations

import gc
import sys
import tempfile

import pytest


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A temporary folder that nobody else uses."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield tmp_path
    gc.collect()


@pytest.fixture
def _many_switches():
    """Let threads take turns far more often than Python's default of 5 ms, as they would over hours."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)
