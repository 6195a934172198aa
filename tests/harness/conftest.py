"""Fixtures that several tests of the harness share."""

from __future__ import annotations

import pytest

from harness.zoo.catalog import models_folder
from tests.harness.kept_children import KeptChildren


@pytest.fixture
def own_zoo(tmp_path, monkeypatch):
    """Return a copy of three zoo files in a folder of their own."""
    folder = tmp_path / "models"
    folder.mkdir()
    for key in ("llama", "olmo", "qwen3"):
        (folder / f"{key}.toml").write_text((models_folder() / f"{key}.toml").read_text())
    monkeypatch.setenv("ANE_HARNESS_MODELS", str(folder))
    return folder


@pytest.fixture(scope="session")
def children():
    """Return what makes child processes, or takes those that earlier tests have left."""
    made = KeptChildren()
    yield made
    made.close()


@pytest.fixture
def _kept_children(children, monkeypatch):
    """Have runs and benches in this process leave their children to the next test."""
    for room in ("harness.workers.pool", "harness.bench.session", "harness.bench.planner"):
        monkeypatch.setattr(f"{room}.Child", children)
