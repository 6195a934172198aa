"""Generate the pages of the site that stand elsewhere: the README, the files at the top, the command line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.structure.files import File, Files

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig

ROOT = Path(__file__).parents[1]
ELSEWHERE = re.compile(r"\[([^\]]*)\]\((examples/[^)]*)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    files.append(File.generated(config, "index.md", content=_start()))
    files.append(File.generated(config, "reference/cli.md", content=_command_line()))
    for name in ("CHANGELOG.md", "CONTRIBUTING.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        files.append(File.generated(config, name.lower(), content=text.replace("](docs/", "](")))
    return files


def _start() -> str:
    """Return the README, its links as they are seen from the site; examples are files of the repository."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    text = text.replace("](CHANGELOG.md)", "](changelog.md)").replace("](CONTRIBUTING.md)", "](contributing.md)")
    return (
        ELSEWHERE.sub(r"\1 (`\2`)", text)
        .replace("](docs/", "](")
        .replace("](LICENSE)", "](https://spdx.org/licenses/BSD-3-Clause.html)")
    )


def _command_line() -> str:
    """Return a page on every command, as ``--help`` has it."""
    import typer
    from typer.cli import get_docs_for_click

    from harness.cli.main import app

    command = typer.main.get_command(app)
    text = get_docs_for_click(obj=command, ctx=typer.Context(command), name="ane-harness", title="Command line")
    return re.sub(r"^Example: (.*)$", r"```sh\n\1\n```", text, flags=re.MULTILINE)
