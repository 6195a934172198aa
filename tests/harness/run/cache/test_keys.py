"""The key of a package: the same for the same, another for whatever decides it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.run.cache import digest, files_digest, keys, sources_digest

ROOT = Path(__file__).parents[4]
PARTS = {"config": {"hidden_size": 64, "layers": 2}, "variant": "on", "lean": True}


def test_the_same_parts_have_the_same_key_in_any_order():
    assert digest(PARTS) == digest(dict(reversed(PARTS.items())))
    assert len(digest(PARTS)) == 64


@pytest.mark.parametrize(
    "other",
    [
        {**PARTS, "variant": "off"},
        {**PARTS, "lean": False},
        {**PARTS, "config": {"hidden_size": 65, "layers": 2}},
        {**PARTS, "more": None},
    ],
)
def test_other_parts_have_another_key(other):
    assert digest(other) != digest(PARTS)


@pytest.mark.parametrize("package", keys.PACKAGES)
def test_another_version_has_another_key(package, monkeypatch):
    before = digest(PARTS)
    version = keys.version
    monkeypatch.setattr(keys, "version", lambda name: "0.0.1" if name == package else version(name))
    assert digest(PARTS) != before


def tree(root, **files):
    for name, text in {"ane_rms/passes/fuse.py": "1", "harness/export/build.py": "1", **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    sources_digest.cache_clear()
    return sources_digest(root)


@pytest.mark.parametrize("name", ["ane_rms/passes/fuse.py", "harness/export/build.py", "harness/convert/conversion.py"])
def test_a_changed_or_new_source_changes_the_digest(name, tmp_path):
    before = tree(tmp_path)
    assert tree(tmp_path, **{name: "2"}) != before


@pytest.mark.parametrize("name", ["harness/judge/gates.py", "harness/interpreter/core.py", "harness/notes.txt"])
def test_what_decides_no_package_changes_nothing(name, tmp_path):
    before = tree(tmp_path)
    assert tree(tmp_path, **{name: "2"}) == before


def test_what_decides_is_there():
    assert all((ROOT / place).exists() for place in keys.DECIDING)


@pytest.mark.parametrize("room", ["judge", "report", "cli", "bench", "explain", "workers", "runtime"])
def test_the_cache_survives_an_edit_of_every_file_of_a_room_that_converts_nothing(room, tmp_path):
    for package in ("ane_rms", "harness"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    before = tree(tmp_path)
    for path in sorted((tmp_path / "harness" / room).rglob("*.py")):
        path.write_text(path.read_text(encoding="utf-8") + "# edited\n", encoding="utf-8")
    sources_digest.cache_clear()
    assert sources_digest(tmp_path) == before


OF_NO_PACKAGE = {
    "errors": "messages",
    "system": "text, logs and files",
    "records": "what is kept of a run; its schema alone is of a package's facts",
    "workers": "memory, to tell a refusal",
    "run": "steps are times",
    "interpreter": "executes packages",
    "runtime": "executes packages",
}
"""Rooms that making a package imports and that decide nothing of it, each with the reason."""


def test_every_module_that_makes_a_package_decides_its_key():
    code = "import sys, harness.run.maker; print(*(name for name in sys.modules if name.startswith('harness.')))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    deciding = tuple(place.removesuffix(".py").replace("/", ".") for place in keys.DECIDING)
    left = {name for name in done.stdout.split() if not f"{name}.".startswith(tuple(f"{one}." for one in deciding))}
    assert {name.split(".")[1] for name in left} - OF_NO_PACKAGE.keys() == set()


def test_files_count_by_name_and_bytes(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_text("same")
    one, other = (files_digest([tmp_path / name], tmp_path) for name in ("a", "b"))
    assert one != other
    (tmp_path / "a").write_text("else")
    assert files_digest([tmp_path / "a"], tmp_path) != one


def test_a_key_needs_neither_torch_nor_coremltools():
    code = (
        "import sys; from harness.run.cache import digest; digest({}); "
        "sys.exit(any(name in sys.modules for name in ('torch', 'coremltools', 'transformers')))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
