"""How many models a run has at work at once where none is asked for."""

from __future__ import annotations

import importlib.util
import os

import pytest

from harness.plan.run_plan import Job, Options
from harness.run.cache import Cache
from harness.run.cases import key
from harness.run.jobs import MODULES, modules, side_by_side
from harness.zoo.catalog import load_zoo

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


def test_children_import_the_converter_beforehand_unless_the_cache_has_the_packages(tmp_path, monkeypatch):
    monkeypatch.setenv("ANE_HARNESS_CACHE", str(tmp_path))
    spec, cached, anew = load_zoo()["llama"], Options(variants=("off",), cache=True), Options(variants=("off",))
    assert modules([Job(spec, cached, cached.cases())]) == MODULES
    Cache(tmp_path).put(key(spec, cached, cached.cases()[0]), lambda path: path.mkdir()).close()
    assert modules([Job(spec, cached, cached.cases())]) == ()
    assert modules([Job(spec, anew, anew.cases())]) == MODULES


def test_the_modules_that_children_import_beforehand_exist():
    for name in MODULES:
        assert importlib.util.find_spec(name) is not None, name
