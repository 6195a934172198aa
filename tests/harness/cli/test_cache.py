"""``cache list`` and ``cache prune``."""

from __future__ import annotations

import pytest

from harness.cli.main import main
from harness.run.cache import Cache, default_folder


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("ANE_HARNESS_CACHE", str(tmp_path / "cache"))


def command(*words):
    """Return the exit code of a command."""
    with pytest.raises(SystemExit) as stopped:
        main(["cache", *words])
    return stopped.value.code or 0


def put(key, title):
    def write(path):
        path.mkdir()
        (path / "weight.bin").write_bytes(b"0" * 2_000_000)

    Cache(default_folder()).put(key * 64, write, title=title).close()


def test_entries_are_listed_with_what_they_are_of(capsys):
    put("a", "llama on layer_norm quick trace")
    assert command("list") == 0
    shown = capsys.readouterr()
    assert "| aaaaaaaaaaaa | llama on layer_norm quick trace | 2.0 MB |" in shown.out
    assert "1 package, 2.0 MB" in shown.err


def test_an_empty_cache_is_listed_as_one(capsys):
    assert command("list") == 0
    assert "0 packages, 0.0 MB" in capsys.readouterr().err


@pytest.mark.parametrize(("words", "left"), [(("--all",), 0), (("--size", "3M"), 1), (("--age", "1h"), 2)])
def test_pruning_by_size_age_and_wholly(words, left, capsys):
    put("a", "one")
    put("b", "other")
    assert command("prune", *words) == 0
    assert f"removed {2 - left} package{'s' * (left != 1)}," in capsys.readouterr().out
    assert len(Cache(default_folder()).entries()) == left


@pytest.mark.parametrize("words", [(), ("--size", "much"), ("--age", "old")])
def test_what_cannot_be_pruned_is_said_in_a_line(words, capsys):
    assert command("prune", *words) == 2
    assert capsys.readouterr().err.count("\n") == 1
