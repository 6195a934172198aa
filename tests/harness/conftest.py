"""Fixtures that several tests of the harness share."""

from __future__ import annotations

import pytest

from harness.zoo.catalog import models_folder


@pytest.fixture
def own_zoo(tmp_path, monkeypatch):
    """Return a copy of three zoo files in a folder of their own."""
    folder = tmp_path / "models"
    folder.mkdir()
    for key in ("llama", "olmo", "qwen3"):
        (folder / f"{key}.toml").write_text((models_folder() / f"{key}.toml").read_text())
    monkeypatch.setenv("ANE_HARNESS_MODELS", str(folder))
    return folder
