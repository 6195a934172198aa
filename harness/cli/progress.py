"""A progress bar on stderr, shown on a terminal only, with the present step, the progress and the time."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Bar:
    """The interface that working code calls."""

    _progress: Progress
    _task: TaskID

    def say(self, text: str) -> None:
        """Show the present step."""
        self._progress.update(self._task, description=escape(text))

    def advance(self) -> None:
        """Count one more as done."""
        self._progress.advance(self._task)


@contextmanager
def progress(total: int) -> Iterator[Bar]:
    """Show a bar that is full after ``total`` advances."""
    console = Console(stderr=True)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as shown:
        yield Bar(shown, shown.add_task("", total=total))
