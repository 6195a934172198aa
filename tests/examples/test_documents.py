"""What README and docs show is true: Python blocks print what stands below them, commands and links exist."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import typer

from harness.cli.main import app, main
from harness.report.columns import COLUMNS
from tests.examples.conftest import ROOT

if TYPE_CHECKING:
    from pathlib import Path

DOCUMENTS = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "examples").rglob("*.md")),
]
BLOCK = re.compile(r"^```python\n(?P<code>.*?)^```\n(?:\n^```text\n(?P<printed>.*?)^```\n)?", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"(?:ane-harness|python -m harness) (?P<words>[^`|\n#]*)")
SHELL = re.compile(r"^```(?:sh)?\n(ane-harness .*?)^```$", re.MULTILINE | re.DOTALL)
JANUARY = "20260131T235959.123456Z"
LINK = re.compile(r"\]\((?P<target>[^)#:]+)(?:#[^)]*)?\)")


def documents(pattern: re.Pattern[str]) -> list[Any]:
    """Return the documents that hold what the pattern finds, as parameters named by their path."""
    return [
        pytest.param(path, id=str(path.relative_to(ROOT))) for path in DOCUMENTS if pattern.search(path.read_text())
    ]


@pytest.mark.filterwarnings("ignore")  # the blocks are for users, who see the libraries' notes
@pytest.mark.parametrize("document", documents(BLOCK))
def test_python_blocks_print_what_is_shown(document: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"__name__": document.stem}  # the blocks of one document follow each other
    for block in BLOCK.finditer(document.read_text()):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(block["code"], str(document), "exec"), namespace)  # noqa: S102 - the project's own text
        assert printed.getvalue() == (block["printed"] or "")


@pytest.mark.parametrize("document", [one for one in documents(COMMAND) if one.id != "docs/extending.md"])
def test_commands_shown_are_commands_there_are(document: Path) -> None:
    group: Any = typer.main.get_command(app)
    for found in COMMAND.finditer(document.read_text()):
        words = [word for word in shlex.split(found["words"]) if word != "..."]
        with typer.Context(group) as context:
            name, command, rest = group.resolve_command(context, [word for word in words if word != "-v"])
            while hasattr(command, "resolve_command"):  # a group, as fleet
                name, command, rest = command.resolve_command(context, rest)
            command.make_context(name, rest, parent=context)  # reads the options, runs nothing


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository as the documents assume one: two runs, the older one of January 31, and some commits."""
    folder = tmp_path_factory.mktemp("repository")
    (folder / "results" / "baselines").mkdir(parents=True)
    shutil.copy(ROOT / "results" / "baselines" / "llama.json", folder / "results" / "baselines")
    with pytest.raises(SystemExit) as ended:
        main(["run", "llama", "--out", str(folder / "results")])
    assert not ended.value.code
    for path in sorted((folder / "results" / "runs").iterdir()):
        older = path.with_name(f"{JANUARY}{path.suffix}")
        older.write_text(path.read_text().replace(path.stem, older.stem))
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(folder)]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "results/baselines"], check=True)
    for number in range(6):
        subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", str(number)], check=True)
    return folder


@pytest.mark.parametrize("document", ["regressions.md", "report.md"])
def test_commands_that_look_at_results_end_well(
    document: str, results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shutil.copytree(results, tmp_path / "copy"))
    for block in SHELL.findall((ROOT / "docs" / document).read_text()):
        for line in block.strip().splitlines():
            name, *words = shlex.split(line, comments=True)
            assert name == "ane-harness"
            with pytest.raises(SystemExit) as ended:
                main(words)
            assert not ended.value.code, line


@pytest.mark.parametrize("document", documents(LINK))
def test_links_inside_the_project_lead_somewhere(document: Path) -> None:
    targets = {found["target"] for found in LINK.finditer(document.read_text())}
    assert [target for target in sorted(targets) if not (document.parent / target).exists()] == []


def test_the_readme_shows_the_columns_there_are() -> None:
    (header,) = re.findall(r"^\| model +\|.*$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert [cell.strip() for cell in header.strip("|").split("|")] == [
        column.header for column in COLUMNS if column.usual is None and not column.on_terminal_only
    ]
