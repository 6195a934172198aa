"""The cache on disk: whole entries or none, shared, pruned, and distrusted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from harness.errors import OutputError
from harness.run.cache import Cache, default_folder

ROOT = Path(__file__).parents[4]
FACTS = {"fused": 5, "sites": [{"name": "a", "epsilon": 1e-6}], "nothing": None}
ARRAYS = {"tokens": np.arange(6, dtype=np.int32).reshape(1, 6), "logits": np.float32([[0.5, np.nan]])}


def package(path: Path, content: bytes = b"weights") -> None:
    (path / "Data" / "weights").mkdir(parents=True)
    (path / "Manifest.json").write_text("{}")
    (path / "Data" / "weights" / "weight.bin").write_bytes(content)


@pytest.fixture
def told():
    return []


@pytest.fixture
def cache(tmp_path, told):
    return Cache(tmp_path / "cache", told.append)


def put(cache, key="a" * 64, content=b"weights", **more):
    return cache.put(key, lambda path: package(path, content), title="llama on", facts=FACTS, arrays=ARRAYS, **more)


def left_in_writing(cache):
    return list((cache.root / "writing").iterdir())


def test_what_is_put_is_got(cache):
    put(cache).close()
    with cache.get("a" * 64) as entry:
        assert (entry.package / "Data" / "weights" / "weight.bin").read_bytes() == b"weights"
        assert entry.facts == FACTS
        assert entry.title == "llama on"
        arrays = entry.arrays()
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array)
        assert arrays[name].dtype == array.dtype
    assert left_in_writing(cache) == []


def test_another_key_is_a_miss(cache, told):
    put(cache).close()
    assert cache.get("b" * 64) is None
    assert told == []


def test_an_empty_cache_holds_nothing(cache):
    assert cache.get("a" * 64) is None
    assert cache.entries() == cache.prune(max_bytes=0) == []
    assert not cache.root.exists(), "reading makes no folder"


@pytest.mark.parametrize(
    "harm",
    [
        lambda folder: (folder / "model.mlpackage/Data/weights/weight.bin").write_bytes(b"weighty"),
        lambda folder: (folder / "model.mlpackage/Data/weights/weight.bin").write_bytes(b"weight"),
        lambda folder: (folder / "model.mlpackage/Manifest.json").unlink(),
        lambda folder: (folder / "model.mlpackage/more").write_bytes(b""),
        lambda folder: (folder / "arrays.npz").write_bytes(b"PK"),
        lambda folder: (folder / "entry.json").write_bytes((folder / "entry.json").read_bytes().replace(b"5", b"6")),
        lambda folder: (folder / "entry.json").write_bytes(b""),
        lambda folder: (folder / "entry.json").unlink(),
    ],
    ids=["a byte", "truncated", "a file gone", "a file more", "arrays", "a fact", "an empty index", "no index"],
)
def test_a_corrupted_entry_is_found_out_removed_and_made_anew(cache, told, harm):
    put(cache).close()
    harm(cache.root / "entries" / ("a" * 64))
    assert cache.get("a" * 64) is None
    assert len(told) == 1
    assert "aaaaaaaaaaaa is corrupted and made anew" in told[0]
    assert cache.entries() == []
    put(cache).close()
    with cache.get("a" * 64) as entry:
        assert entry.facts == FACTS
    assert len(told) == 1


def test_a_write_that_fails_leaves_nothing(cache):
    def fails(path):
        package(path)
        raise ValueError("halfway")

    with pytest.raises(ValueError, match="halfway"):
        cache.put("a" * 64, fails)
    assert cache.get("a" * 64) is None
    assert left_in_writing(cache) == []


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="the cache cannot be written"):
        put(Cache(tmp_path / "file"))


WRITER = """
import sys, time
from pathlib import Path
from harness.run.cache import Cache
def write(path):
    path.mkdir()
    (path / "half").write_bytes(b"x")
    print("writing", flush=True)
    time.sleep(60)
Cache(Path(sys.argv[1])).put("a" * 64, write)
"""


def test_a_killed_writer_leaves_nothing_half_written_and_is_swept(cache):
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(cache.root)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout.readline() == "writing\n"
    put(cache, key="b" * 64).close()  # sweeps, and must not take a living writer's folder
    assert len(left_in_writing(cache)) == 2
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    assert cache.get("a" * 64) is None
    put(cache).close()
    assert left_in_writing(cache) == []


SHARER = """
import sys
from pathlib import Path
from harness.run.cache import Cache
cache = Cache(Path(sys.argv[1]), lambda text: sys.exit(text))
for i in range(40):
    key = f"{i:064x}"
    def write(path):
        path.mkdir()
        (path / "weight.bin").write_bytes(key.encode() * 100)
    with cache.get(key) or cache.put(key, write, facts={"key": key}) as entry:
        assert entry.facts == {"key": key}
        assert (entry.package / "weight.bin").read_bytes() == key.encode() * 100
"""


def test_two_processes_share_it(cache):
    both = [subprocess.Popen([sys.executable, "-c", SHARER, str(cache.root)], cwd=ROOT) for _ in range(2)]
    assert [one.wait(timeout=120) for one in both] == [0, 0]
    assert len(cache.entries()) == 40
    assert left_in_writing(cache) == []


def test_pruning_takes_what_was_not_used_for_longest(cache):
    now = time.time()
    for age, key in enumerate("abc"):
        put(cache, key=key * 64).close()
        index = cache.root / "entries" / (key * 64) / "entry.json"
        for path in (index, index.parent):
            os.utime(path, (now - 100 * age, now - 100 * age))
    one = cache.entries()[0].size_bytes
    assert [entry.key[0] for entry in cache.entries()] == ["a", "b", "c"]
    cache.get("c" * 64).close()  # used now
    assert [entry.key[0] for entry in cache.prune(max_bytes=2 * one)] == ["b"]
    assert [entry.key[0] for entry in cache.prune(older_than=50)] == []
    assert [entry.key[0] for entry in cache.entries()] == ["c", "a"]
    assert {entry.title for entry in cache.prune(max_bytes=0)} == {"llama on"}
    assert cache.entries() == []


def test_an_entry_in_use_is_not_pruned(cache):
    entry = put(cache)
    assert cache.prune(max_bytes=0) == []
    entry.close()
    assert len(cache.prune(max_bytes=0)) == 1


def test_the_folder_is_the_variables_or_the_platforms(monkeypatch, tmp_path):
    monkeypatch.setenv("ANE_HARNESS_CACHE", str(tmp_path / "mine"))
    assert default_folder() == tmp_path / "mine"
    monkeypatch.delenv("ANE_HARNESS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder().name == "ane-harness"
