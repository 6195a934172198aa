"""A saved checkpoint that several files of tests load, and a copy of it for those that damage it."""

from __future__ import annotations

import shutil

import msgspec
import pytest
import torch

from harness.export import build
from harness.zoo.catalog import load_zoo
from tests.harness.zoo.checkpoints import add_tokenizer


@pytest.fixture(scope="session")
def saved_checkpoint(tmp_path_factory):
    """Return the folder of a small Llama: bfloat16, in three shards, with a tokenizer."""
    folder = tmp_path_factory.mktemp("saved") / "llama"
    build(msgspec.structs.replace(load_zoo()["llama"], activations="tame")).to(torch.bfloat16).save_pretrained(
        folder, max_shard_size="300KB"
    )
    assert len(list(folder.glob("*.safetensors"))) > 1
    add_tokenizer(folder)
    return folder


@pytest.fixture
def copied_checkpoint(saved_checkpoint, tmp_path):
    """Return a copy that a test may damage."""
    return shutil.copytree(saved_checkpoint, tmp_path / "copy")
