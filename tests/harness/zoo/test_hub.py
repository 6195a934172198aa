"""A repository of the hub: the files that transformers reads are downloaded, and no others."""

from __future__ import annotations

import fnmatch
import json
import shutil
from types import SimpleNamespace

import huggingface_hub
import pytest

from harness.zoo.checkpoint import hub

INDEX = "model.safetensors.index.json"
CONFIG = {"model_type": "llama"}


def index(*names):
    return {"metadata": {}, "weight_map": {f"tensor{number}": name for number, name in enumerate(names)}}


@pytest.fixture
def fetched(tmp_path, monkeypatch):
    """Return a function that makes a repository of files, downloads it, and returns the names that came."""

    def download(*, offline=False, **flags):
        def snapshot(_source, revision=None, allow_patterns=(), ignore_patterns=()):
            assert revision is None
            (tmp_path / "here").mkdir(exist_ok=True)
            for path in (tmp_path / "there").rglob("*"):
                name = path.relative_to(tmp_path / "there").as_posix()
                wanted = any(fnmatch.fnmatch(name, one) for one in allow_patterns)
                if path.is_file() and wanted and not any(fnmatch.fnmatch(name, one) for one in ignore_patterns):
                    (tmp_path / "here" / name).parent.mkdir(exist_ok=True)
                    shutil.copy(path, tmp_path / "here" / name)
            return str(tmp_path / "here")

        names = [path.relative_to(tmp_path / "there").as_posix() for path in (tmp_path / "there").rglob("*")]
        info = SimpleNamespace(siblings=[SimpleNamespace(rfilename=name) for name in names])
        monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
        monkeypatch.setattr(huggingface_hub, "HfApi", lambda: SimpleNamespace(model_info=lambda *_, **__: info))
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", offline)
        folder = hub.download("me/own", None, **{"allow_pickle": False, "trust_remote_code": False} | flags)
        return {path.name for path in folder.rglob("*") if path.is_file()}

    return download


def repository(tmp_path, *names, **contents):
    """Write a repository with a configuration, files without content, and JSON files by their stems."""
    (tmp_path / "there" / "original").mkdir(parents=True)
    for name in (*names, "original/consolidated.00.pth", "README.md"):
        (tmp_path / "there" / name).write_bytes(b"")
    for name, content in ({"config": CONFIG} | contents).items():
        (tmp_path / "there" / f"{name.replace('__', '.')}.json").write_text(json.dumps(content))


@pytest.mark.parametrize("offline", [False, True])
def test_one_file(tmp_path, fetched, offline):
    repository(tmp_path, "model.safetensors", "consolidated.safetensors", "model.fp16.safetensors", "own.py")
    assert fetched(offline=offline) == {"config.json", "model.safetensors"}
    assert fetched(offline=offline, trust_remote_code=True) == {"config.json", "model.safetensors", "own.py"}


def test_shards_under_any_name(tmp_path, fetched):
    shards = ("model-00001-of-00002.safetensors", "rest.safetensors")
    repository(tmp_path, *shards, "other.safetensors", model__safetensors__index=index(*shards))
    assert fetched() == {"config.json", INDEX, *shards}


def test_pickle_files_only_where_allowed_and_needed(tmp_path, fetched):
    repository(tmp_path, "pytorch_model.bin")
    assert fetched() == {"config.json"}
    assert fetched(allow_pickle=True) == {"config.json", "pytorch_model.bin"}
    (tmp_path / "there" / "model.safetensors").write_bytes(b"")
    shutil.rmtree(tmp_path / "here")
    assert fetched(allow_pickle=True) == {"config.json", "model.safetensors"}


@pytest.mark.parametrize("named", ["own.safetensors", "own.safetensors.index.json"])
def test_the_weights_that_the_configuration_names(tmp_path, fetched, named):
    repository(
        tmp_path,
        *("own.safetensors", "part-1.safetensors", "part-2.safetensors"),
        config=CONFIG | {"transformers_weights": named},
        own__safetensors__index=index("part-1.safetensors", "part-2.safetensors"),
    )
    found = fetched()
    assert named in found
    assert ("own.safetensors" in found) == (named == "own.safetensors")
    assert ("part-2.safetensors" in found) == (named != "own.safetensors")


@pytest.mark.parametrize("named", ["../own.safetensors", 5, "*.safetensors", "/etc/passwd"])
def test_a_name_that_is_no_file_of_the_repository_is_not_asked_for(tmp_path, fetched, named):
    repository(tmp_path, "own.safetensors", config=CONFIG | {"transformers_weights": named})
    assert fetched() == {"config.json"}
