"""What lies beside our own files in a results folder is told or passed over, and never ends a command."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from harness.records import listing
from harness.zoo.catalog import models_folder
from tests.harness.command_line import harness
from tests.harness.example_records import record, write_run

APPLE_DOUBLE = b"\0\5\26\7\0\2\0\0Mac OS X        " + bytes(60)
COMMANDS = (
    ("compare", "baselines", "latest"),
    ("compare", "latest~1", "latest"),
    ("history", "--metric", "rel_l2"),
    ("nightly", "latest"),
    ("report", "latest"),
    ("expect", "latest"),
)


def test_an_id_is_of_ascii_digits(tmp_path):
    (tmp_path / "runs").mkdir()
    path = tmp_path / "runs" / f"{20260101:d}.jsonl".translate({ord("0") + n: 0xFF10 + n for n in range(10)})
    path.write_bytes(b"x")
    assert listing.runs(tmp_path) == listing.Listing((), (f"{path}: left out: its name is not a run's id",))


def test_an_odd_zoo_file_is_a_note_where_a_tier_is_named(tmp_path, monkeypatch):
    shutil.copy(models_folder() / "llama.toml", tmp_path)
    monkeypatch.setenv("ANE_HARNESS_MODELS", str(tmp_path))
    link(tmp_path / "qwen3.toml")
    write_run(tmp_path, "20260101", [record()])
    done = harness("compare", "latest", "latest", "--tier", "quick", "--results", tmp_path)
    assert (done.returncode, "1 unchanged" in done.stderr, "qwen3.toml: No such file" in done.stderr) == (0, True, True)


def link(path):
    path.symlink_to("elsewhere")


def loop(path):
    path.symlink_to(path.name)


ODD = {
    "apple double": (lambda path: (path.with_name(f"._{path.name}")).write_bytes(APPLE_DOUBLE), ""),
    "temporary": (lambda path: path.with_name(f".{path.name}.x1").write_bytes(b"{"), ""),
    "conflicted copy": (
        lambda path: path.with_stem(f"{path.stem} (conflicted copy)").write_bytes(b"{}"),
        "its name is not a",
    ),
    "dangling link": (link, "a link whose target is missing"),
    "link to itself": (loop, "a link whose target is missing"),
    "folder": (lambda path: path.mkdir(), "not a regular file"),
    "pipe": (os.mkfifo, "not a regular file"),
    "garbage": (lambda path: path.write_bytes(bytes(range(256)) + b"\n"), "not a"),
    "zeros": (lambda path: path.write_bytes(bytes(4096) + b"\n"), "not a"),
    "utf-16": (lambda path: path.write_text('{"a": 1}\n', encoding="utf-16"), "not a"),
    "another JSON": (lambda path: path.write_text('{"name": "x"}\n'), "not a"),
    "empty": (lambda path: path.write_bytes(b""), None),
}


@pytest.fixture
def results(tmp_path):
    for day in (2, 3):
        write_run(tmp_path, f"2026010{day}T000000.000000Z", [record()])
    assert harness("expect", "latest", "--update", "--results", tmp_path).returncode == 0
    return tmp_path


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("place", ["runs/20260101T000000.000000Z.jsonl", "baselines/other.json"])
def test_one_odd_file_ends_no_command(results, kind, place):
    make, note = ODD[kind]
    make(results / place)
    before = {path: path.read_bytes() for path in results.rglob("*.json*") if path.is_file()}
    said = ""
    for words in COMMANDS:
        done = harness(*words, "--results", results)
        assert done.returncode == 0, (words, done.stderr)
        said += done.stderr
    if note is not None:
        assert note in said if note else "left out" not in said
    assert {path: path.read_bytes() for path in results.rglob("*.json*") if path.is_file()} == before


@pytest.mark.parametrize("kind", ["link to itself", "folder", "pipe", "garbage", "zeros", "utf-16", "empty"])
def test_a_plan_that_cannot_be_read_is_a_note(results, kind):
    plan = results / "runs" / "20260103T000000.000000Z.json"
    ODD[kind][0](plan)
    for words in COMMANDS:
        done = harness(*words, "--results", results)
        assert done.returncode == 0, (words, done.stderr)
        assert words[0] == "history" or f"{plan}: " in done.stderr


def test_a_baseline_that_is_needed_and_cannot_be_read_is_one_line(results):
    path = results / "baselines" / "llama.json"
    path.write_bytes(b"<<<<<<< HEAD\n" + path.read_bytes())
    other = results / "baselines" / "qwen3.json"
    other.write_bytes(path.read_bytes())
    for words in (("compare", "baselines", "latest"), ("expect", "latest", "--update"), ("nightly", "latest")):
        done = harness(*words, "--results", results)
        assert done.returncode == 2
        assert f"{path}: not a baseline" in done.stderr
        assert path.read_bytes().startswith(b"<<<<<<<")


@pytest.mark.parametrize("model", ["modèle", "モデル", "mode\u0300le"])
def test_a_key_that_is_not_ascii_is_found_at_a_revision(tmp_path, model):
    def git(*words):
        command = ["git", "-C", tmp_path, "-c", "user.name=a", "-c", "user.email=a@b", *words]
        subprocess.run(command, check=True, timeout=60)

    write_run(tmp_path, "20260102T000000.000000Z", [record(model=model)])
    if not listing.MODEL_KEY.fullmatch(model):
        assert "not a model's key" in harness("expect", "latest", "--update", "--results", tmp_path).stderr
        return
    assert harness("expect", "latest", "--update", "--results", tmp_path).returncode == 0
    (tmp_path / "baselines" / "._x.json").write_bytes(APPLE_DOUBLE)
    (tmp_path / "baselines" / "link.json").symlink_to("nowhere")
    git("init", "-q")
    git("add", "baselines")
    git("commit", "-q", "-m", "expect")
    done = harness("compare", "HEAD", "latest", "--results", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "link.json: left out" in done.stderr
    assert harness("compare", "HEAD", "baselines", "--results", tmp_path).returncode == 0
