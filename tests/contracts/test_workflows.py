"""The workflows: their commands exist with these options, their tox environments too, and they may do little.

Form and known dangers are the linters' (``tox -e lint``); they cannot know what the project's commands are called.
"""

from __future__ import annotations

import configparser
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from harness.cli.main import app

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
COMMAND = re.compile(r"^\s*(?:\S*/)?ane-harness ([^|>\n\\]*)", re.MULTILINE)
every = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)


def jobs(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"]


def steps(path):
    return [step for job in jobs(path).values() for step in job["steps"]]


POSTING = {"issue": {"issues": "write"}, "comment": {"pull-requests": "write"}}
"""The jobs that may write, and what."""


def test_there_is_one_for_changes_and_one_for_nights_with_a_job_on_a_mac():
    assert [path.name for path in WORKFLOWS] == ["checks.yml", "nightly.yml"]
    assert [job["runs-on"] for job in jobs(WORKFLOWS[1]).values()] == [
        "ubuntu-24.04",
        "ubuntu-24.04",
        ["self-hosted", "macOS", "ARM64"],
    ]


@every
def test_its_commands_are_commands_there_are(path):
    group: Any = typer.main.get_command(app)
    found = [words for step in steps(path) for words in COMMAND.findall(step.get("run", ""))]
    assert found
    for words in found:
        with typer.Context(group) as context:
            name, command, rest = group.resolve_command(context, shlex.split(words))
            command.make_context(name, rest, parent=context)  # reads the options, runs nothing


@every
def test_its_tox_environments_are_there(path):
    tox = configparser.ConfigParser()
    tox.read(ROOT / "tox.ini")
    text = "\n".join(step.get("run", "") for step in steps(path))
    for names in re.findall(r"tox -e (\S+)", text):
        assert all(tox.has_section(f"testenv:{name}") for name in names.split(","))


@every
def test_it_may_read_the_repository_and_only_posting_jobs_may_write(path):
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert workflow["permissions"] == {}
    assert workflow["concurrency"]
    for name, job in workflow["jobs"].items():
        assert job["permissions"] == POSTING.get(name, {"contents": "read"}), name
    assert all(job["timeout-minutes"] for job in workflow["jobs"].values())


@every
def test_a_job_that_may_write_runs_no_code_of_the_project_and_puts_no_text_into_its_script(path):
    posting = [job for name, job in jobs(path).items() if name in POSTING]
    assert len(posting) == 1
    for step in posting[0]["steps"]:
        assert "uses" not in step
        assert "${{" not in step["run"]
        assert not re.search(r"ane-harness|python|pip|tox", step["run"])


@every
def test_each_action_is_pinned_to_a_commit_and_says_which_version_it_is(path):
    uses = re.findall(r"uses: (.*)", path.read_text(encoding="utf-8"))
    assert uses
    for one in uses:
        assert re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", one), one


def test_the_mac_never_runs_a_strangers_code():
    # YAML 1.1 reads the key `on` as true.
    assert set(yaml.safe_load(WORKFLOWS[1].read_text(encoding="utf-8"))[True]) == {"schedule", "workflow_dispatch"}
