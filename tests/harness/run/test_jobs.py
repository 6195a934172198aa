"""How many models a run has at work at once where none is asked for."""

from __future__ import annotations

import os

import pytest

from harness.run.jobs import side_by_side

GB = 10**9


@pytest.mark.parametrize(
    ("models", "size", "memory", "cores", "expected"),
    [
        (18, "quick", 20 * GB, 2, 2),
        (18, "quick", 20 * GB, 16, 4),
        (1, "quick", 20 * GB, 16, 1),
        (7, "quick", 20 * GB, 16, 1),
        (57, "quick", 4 * GB, 16, 3),
        (57, "quick", GB // 2, 16, 1),
        (57, "quick", 20 * GB, None, 1),
        (18, "full", 64 * GB, 16, 1),
    ],
)
def test_a_core_memory_and_four_models_for_each(models, size, memory, cores, expected, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    assert side_by_side(models, size, memory) == expected
