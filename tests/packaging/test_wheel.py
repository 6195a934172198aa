"""The wheel, installed apart from the repository and used outside it: the zoo and the templates are inside."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("hatchling", reason="the build backend is in the extra dev")

ROOT = Path(__file__).parents[2]


def build(kind, folder):
    """Build a distribution as ``pip`` and ``build`` do, without a network."""
    code = f"import sys, hatchling.build as b; print(b.build_{kind}(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder / done.stdout.split()[-1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Return the folder that the wheel's packages are unpacked to."""
    folder = tmp_path_factory.mktemp("wheel")
    target = folder / "site"
    with zipfile.ZipFile(build("wheel", folder)) as wheel:
        wheel.extractall(target)  # noqa: S202 - built just now
    return target


def outside(installed, folder, *command):
    """Run Python outside the repository, with the wheel's packages alone."""
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    return subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_the_wheel_holds_what_runs_and_nothing_else(installed):
    names = {path.name for path in installed.iterdir()}
    assert {"ane_rms", "harness"} == {name for name in names if not name.endswith(".dist-info")}
    assert (installed / "harness" / "_models" / "llama.toml").is_file()
    assert list((installed / "harness" / "report" / "page" / "templates").iterdir())


def test_the_first_commands_of_a_newcomer_work_outside_the_repository(installed, tmp_path):
    quick_start = (ROOT / "docs" / "quick-start.md").read_text()
    (tmp_path / "convert.py").write_text(
        re.findall(r"^```python\n(.*?)^```$", quick_start, re.DOTALL | re.MULTILINE)[0]
    )
    done = outside(installed, tmp_path, "-W", "ignore", "convert.py")
    assert done.returncode == 0, done.stderr
    assert "5 norms fused, 0 missed" in done.stdout
    for command, expected in (
        (["list", "--tier", "quick"], "| llama"),
        (["run", "llama", "--variant", "on"], "| llama"),
        (["explain", "llama.mlpackage"], "input_layernorm"),
        (["report", "latest", "-o", "report.html"], ""),
    ):
        done = outside(installed, tmp_path, "-m", "harness", *command)
        assert done.returncode == 0, done.stderr
        assert expected in done.stdout
    assert (tmp_path / "report.html").stat().st_size > 10_000


def test_the_source_distribution_can_run_its_own_tests(tmp_path):
    with tarfile.open(build("sdist", tmp_path)) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {
        "pyproject.toml",
        "README.md",
        "tox.ini",
        "constraints.txt",
        "tests/conftest.py",
        "models/llama.toml",
    } <= names
    assert {"docs/how-it-works.md", "mkdocs.yml", "examples/running.py"} <= names
