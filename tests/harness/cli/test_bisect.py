"""``bisect`` on a real repository, whose commits are measured by their own code in their own work trees."""

from __future__ import annotations

import json
import subprocess

import msgspec
import pytest

from tests.harness.cli.test_verdicts import harness
from tests.harness.example_records import MAC, record, write_run
from tests.harness.judge.bisection.planted import nights, repository, wheels

FINE, COARSE = 3.7e-5, 3.0e-4  # the errors of 10 and of 7 bits: a quarter of a step is lost, of roots of about 7


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny") / "repository"
    return folder, repository(folder, [10] * 41 + [7] * 23)


def bisect(results, folder, *more):
    return harness("bisect", "llama", "rel_l2", "--results", results, "--repository", folder, *more)


def git(folder, *words):
    return subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True).stdout


def measured(results):
    return len(json.loads((results / "bisect" / "llama-rel_l2.json").read_text(encoding="utf-8"))["answers"])


def test_the_planted_commit_of_64_is_found_in_eight_runs_and_the_checkout_is_as_it_was(tmp_path, tiny):
    folder, commits = tiny
    (folder / "notes.txt").write_text("not committed", encoding="utf-8")
    before = git(folder, "status", "--porcelain"), git(folder, "worktree", "list"), git(folder, "rev-parse", "HEAD")
    nights(tmp_path, [(commits[0], FINE, {}), (commits[63], COARSE, {})])
    code, out, err = bisect(tmp_path, folder)
    assert code == 0, err
    assert f"first bad: commit {commits[41][:10]} Change 41 (A, 2026-01-01): rel_l2" in out
    assert f"with commit {commits[40][:10]}" in out
    assert "changed  code" in err
    assert "63 commits" in err
    assert measured(tmp_path) <= 8
    after = git(folder, "status", "--porcelain"), git(folder, "worktree", "list"), git(folder, "rev-parse", "HEAD")
    assert after == before


def test_a_stopped_bisection_goes_on_and_measures_nothing_twice(tmp_path, tiny):
    folder, commits = tiny
    nights(tmp_path, [(commits[36], FINE, {}), (commits[44], COARSE, {})])
    assert bisect(tmp_path, folder)[0] == 0
    path = tmp_path / "bisect" / "llama-rel_l2.json"
    state = json.loads(path.read_text(encoding="utf-8"))
    total, state["answers"] = len(state["answers"]), state["answers"][:3]
    path.write_text(json.dumps(state), encoding="utf-8")
    code, out, err = bisect(tmp_path, folder)
    assert code == 0
    assert f"commit {commits[41][:10]}" in out
    assert f"{total - 3} measured now, 3 before" in err


def test_a_machine_with_other_figures_finds_the_same_commit(tmp_path, tiny):
    folder, commits = tiny
    nights(tmp_path, [(commits[40], 40 * FINE, {}), (commits[42], 40 * COARSE, {})])
    code, out, _ = bisect(tmp_path, folder)
    assert code == 0
    assert f"first bad: commit {commits[41][:10]}" in out


def test_commits_that_cannot_run_are_gone_around_and_named_if_they_may_be_the_first(tmp_path):
    folder = tmp_path / "repository"
    commits = repository(folder, [10] * 5 + [7] * 4, broken=(3, 4))
    nights(tmp_path, [(commits[0], FINE, {}), (commits[8], COARSE, {})])
    code, out, err = bisect(tmp_path, folder)
    assert code == 0, err
    assert f"first bad: commit {commits[5][:10]}" in out
    assert "2 places between could not be measured" in out
    assert "NameError" in out


@pytest.fixture
def offline(tmp_path, monkeypatch):
    wheels(tmp_path / "wheels", {f"1.{n}": 3 if n >= 5 else 0 for n in range(8)})
    for name, value in {"FIND_LINKS": str(tmp_path / "wheels"), "NO_INDEX": "1", "CONFIG_FILE": "/dev/null"}.items():
        monkeypatch.setenv(f"PIP_{name}", value)


@pytest.mark.slow  # makes six virtual environments
def test_the_planted_version_of_a_dependency_is_found(tmp_path, offline):
    folder = tmp_path / "repository"
    commits = repository(folder, [10] * 4)
    nights(tmp_path, [(commits[0], FINE, {"planted": "1.0"}), (commits[3], COARSE, {"planted": "1.7"})])
    code, out, err = bisect(tmp_path, folder, "--environments")
    assert code == 0, err
    assert "first bad: planted 1.5: rel_l2" in out
    assert "with planted 1.4" in out
    assert "changed  planted: 1.0 to 1.7" in err


@pytest.mark.slow  # makes virtual environments
def test_the_code_is_told_from_a_dependency_that_changed_beside_it(tmp_path, offline):
    folder = tmp_path / "repository"
    commits = repository(folder, [10, 10, 7, 7])
    nights(tmp_path, [(commits[0], FINE, {"planted": "1.0"}), (commits[3], COARSE, {"planted": "1.1"})])
    code, out, _ = bisect(tmp_path, folder, "--environments")
    assert code == 0
    assert f"first bad: commit {commits[2][:10]} Change 2" in out


def refused(results, folder, *more):
    """Return the one line of a refusal."""
    code, out, err = bisect(results, folder, *more)
    assert (code, out) == (2, "")
    return err.splitlines()[-1]


def test_no_change_is_refused(tmp_path, tiny):
    folder, commits = tiny
    nights(tmp_path, [(commits[0], FINE, {}), (commits[1], FINE, {})])
    assert "llama rel_l2: no change for the worse in the history" in refused(tmp_path, folder)


def test_a_run_of_uncommitted_code_is_refused(tmp_path, tiny):
    folder, commits = tiny
    for day, error in ((1, FINE), (2, COARSE)):
        made_with = msgspec.structs.replace(MAC, git_commit=commits[day], git_clean=day == 1)
        write_run(tmp_path, f"2026020{day}", [record(environment=made_with, metrics={"rel_l2": error})])
    assert "run 20260202: was made with uncommitted changes" in refused(
        tmp_path, folder, "--good", "20260201", "--bad", "20260202"
    )


def test_a_commit_that_is_not_there_is_refused(tmp_path, tiny):
    folder, commits = tiny
    nights(tmp_path, [("f" * 40, FINE, {}), (commits[1], COARSE, {})])
    assert "has no commit ffffffffff" in refused(tmp_path, folder)


def test_runs_of_one_commit_are_refused_and_what_else_changed_is_named(tmp_path, tiny):
    folder, commits = tiny
    nights(tmp_path, [(commits[1], FINE, {"torch": "2.12.0"}), (commits[1], COARSE, {"torch": "2.13.0"})])
    line = refused(tmp_path, folder)
    assert f"are both of commit {commits[1][:10]}" in line
    assert "--environments" in line


def test_a_change_that_does_not_show_again_is_refused_with_both_figures(tmp_path, tiny):
    folder, commits = tiny
    nights(tmp_path, [(commits[0], FINE, {"torch": "2.12.0"}), (commits[20], COARSE, {"torch": "2.13.0"})])
    line = refused(tmp_path, folder)
    assert "the code does not decide" in line
    assert "torch changed as well; pass --environments" in line


def test_a_folder_without_a_repository_is_refused(tmp_path, tiny):
    nights(tmp_path, [(tiny[1][0], FINE, {}), (tiny[1][9], COARSE, {})])
    (tmp_path / "nothing").mkdir()
    assert "not in a git repository" in refused(tmp_path, tmp_path / "nothing")


def test_one_of_the_two_runs_alone_is_refused(tmp_path, tiny):
    assert "--good and --bad" in refused(tmp_path, tiny[0], "--good", "20260201")
