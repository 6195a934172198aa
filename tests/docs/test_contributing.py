"""CONTRIBUTING.md and the architecture name places that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLACE = re.compile(r"`((?:ane_rms|harness|tests|models|docs)/[\w./]*)`")
QUESTIONS = 10


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_every_place_that_is_named_is_there(name):
    places = PLACE.findall((ROOT / name).read_text(encoding="utf-8"))
    assert len(places) > QUESTIONS
    assert [place for place in places if not (ROOT / place).exists()] == []


def test_the_rooms_of_the_architecture_are_those_there_are():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^\| `(\w+)/`", text, re.MULTILINE))
    assert named == {path.parent.name for path in (ROOT / "harness").glob("*/__init__.py")}


def test_the_tree_of_the_architecture_names_every_part_of_the_extension():
    tree = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").split("```")[1].partition("models/")[0]
    named = set(re.findall(r"\b\w+(?:/|\.py)", tree))
    parts = {path.name for path in (ROOT / "ane_rms").glob("[!_]*.py")}
    parts |= {f"{path.parent.name}/" for path in (ROOT / "ane_rms").glob("*/__init__.py")}
    assert parts - named == set()


def test_a_new_reader_finds_ten_things():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## Where is it?")[2]
    rows = [line for line in text.splitlines() if line.startswith("| ") and "?" in line]
    assert len(rows) >= QUESTIONS
    assert all(PLACE.search(row) for row in rows)


def test_the_version_is_shown():
    import subprocess
    import sys

    import ane_rms

    done = subprocess.run(
        [sys.executable, "-m", "harness", "--version"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, f"ane-harness {ane_rms.__version__}\n")
