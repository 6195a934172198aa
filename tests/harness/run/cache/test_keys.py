"""The key of a package: the same for the same, another for whatever decides it."""

from __future__ import annotations

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


@pytest.mark.parametrize("name", ["harness/cli/run.py", "harness/interpreter/core.py", "harness/notes.txt"])
def test_what_decides_no_package_changes_nothing(name, tmp_path):
    before = tree(tmp_path)
    assert tree(tmp_path, **{name: "2"}) == before


def test_what_is_said_to_be_beside_the_point_is_there():
    assert all((ROOT / folder).is_dir() for folder in keys.BESIDE_THE_POINT)


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
