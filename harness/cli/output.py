"""The one way commands print: text from files and records never reaches the terminal's control sequences."""

from __future__ import annotations

import typer

from harness.system.text import plain


def say(text: str = "", *, err: bool = False) -> None:
    """Print a text and a line end, on stdout or stderr."""
    typer.echo(plain(text), err=err)
