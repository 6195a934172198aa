"""Results folders as synchronisation, crashes and hands leave them: every command answers or refuses in one line."""

from __future__ import annotations

import os
import shutil

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz import fuzz
from tests.harness.command_line import harness
from tests.harness.example_records import record, write_run

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

RUNS = ("20260101T000000.000000Z", "20260102T000000.000000Z")
GOOD = msgspec.json.encode(record()) + b"\n"
names = st.sampled_from(
    [
        *(f"{run}{end}" for run in (*RUNS, "20260103T000000.000000Z", "20260103") for end in (".jsonl", ".json")),
        *("._20260101T000000.000000Z.jsonl", "20260101T000000.000000Z (1).jsonl", "llama.json", "._llama.json"),
        *("llama 2.json", "qwen3.json", "notes.json", "accepted.jsonl", ".DS_Store", "x.jsonl", "x.regimes.json"),
    ]
)
contents = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([b"", b"{}", b"[]\n", b"null\n", bytes(512), b"\xff\xfe{\0}\0", b"[" * 5_000, GOOD, GOOD[:-20]]),
    st.tuples(st.integers(0, len(GOOD) - 1), st.binary(min_size=1, max_size=3)).map(
        lambda edit: GOOD[: edit[0]] + edit[1] + GOOD[edit[0] + len(edit[1]) :]
    ),
)
kinds = st.sampled_from(["file", "file", "file", "folder", "dangling", "loop", "pipe", "unreadable"])
strangers = st.lists(
    st.tuples(st.sampled_from(["runs", "baselines", "tables"]), names, kinds, contents), min_size=1, max_size=3
)

COMMANDS = (
    ("compare", "latest~1", "latest"),
    ("compare", "baselines", "latest"),
    ("history",),
    ("expect",),
    ("report", "latest"),
    ("nightly", "latest"),
)


def put(path, kind, content):
    """Put something in a path's place."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    match kind:
        case "folder":
            path.mkdir()
        case "dangling":
            path.symlink_to("elsewhere")
        case "loop":
            path.symlink_to(path.name)
        case "pipe":
            os.mkfifo(path)
        case _:
            path.write_bytes(content)
            path.chmod(0 if kind == "unreadable" else 0o644)


def kept(results):
    """Return the content of what commands only read."""
    paths = [path for place in ("runs", "baselines") for path in (results / place).rglob("*")]
    return {path: path.read_bytes() for path in paths if path.is_file() and os.access(path, os.R_OK)}


@pytest.mark.timeout(3600)
@fuzz(4, deadline=None)
@given(found=strangers)
def test_every_command_answers_or_refuses_and_writes_nothing_over(found, tmp_path):
    shutil.rmtree(tmp_path / "r", ignore_errors=True)
    for run in RUNS:
        write_run(tmp_path / "r", run, [record()])
    (tmp_path / "r" / "tables").mkdir()
    assert harness("expect", "--update", "--results", tmp_path / "r").returncode == 0
    for place, name, kind, content in found:
        put(tmp_path / "r" / place / name, kind, content)
    before = kept(tmp_path / "r")
    for command in COMMANDS:
        done = harness(*command, "--results", tmp_path / "r")
        assert done.returncode in (0, 1, 2), command
        assert "Traceback" not in done.stderr, command
        if done.returncode == 2:
            assert done.stderr.strip(), command
    assert kept(tmp_path / "r") == before
