"""What docs/extending.md says is done: each section, applied to a copy of the project, gives what it shows."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys

import pytest

from tests.examples.conftest import ROOT

DOCUMENT = (ROOT / "docs" / "extending.md").read_text()
SECTION = re.compile(r"^## (?P<title>[^\n]+)\n(?P<body>.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r'^```(?P<kind>\w+)(?: title="(?P<title>[^"]+)")?\n(?P<text>.*?)^```$', re.MULTILINE | re.DOTALL)
SECTIONS = {found["title"]: found["body"] for found in SECTION.finditer(DOCUMENT)}
COPIED = ("ane_rms", "harness", "models", "tests", "pyproject.toml")


@pytest.fixture
def copy(tmp_path):
    """Return a copy of what an addition may touch."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tmp_path / name)
    return tmp_path


@pytest.mark.parametrize("title", SECTIONS)
def test_the_addition_is_found_where_the_guide_says(title, copy):
    command = expected = None
    for block in BLOCK.finditer(SECTIONS[title]):
        if block["kind"] == "diff":
            patch = subprocess.run(
                ["git", "apply", "-"], input=block["text"], text=True, cwd=copy, capture_output=True, check=False
            )
            assert patch.returncode == 0, patch.stderr
        elif block["kind"] == "sh":
            command = shlex.split(block["text"])
        elif block["kind"] == "text":
            expected = block["text"].strip()
        else:
            (copy / block["title"]).write_text(block["text"])
    assert command
    assert command[0] == "python"
    done = subprocess.run([sys.executable, *command[1:]], cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert expected
    assert expected in done.stdout
