"""The project's commits, read with git, and checked out in temporary work trees beside the user's checkout.

The user's own checkout, its index and its branches are never written. Commits are followed along first parents, so a
merge counts as one change.
"""

from __future__ import annotations

import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import ArgumentError, OutputError
from harness.system.command import output
from harness.system.text import squeezed

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS = 120
"""Longest time for one git command."""


@dataclass(frozen=True, slots=True)
class Repository:
    """A git repository."""

    folder: Path

    @classmethod
    def at(cls, folder: Path) -> Repository:
        """Return the repository of a folder.

        Raises
        ------
        ArgumentError: if there is none.
        """
        top = output("git", "-C", str(folder), "rev-parse", "--show-toplevel", seconds=SECONDS)
        if not top:
            raise ArgumentError(f"{folder}: not in a git repository; name a checkout of the project with --repository")
        return cls(Path(top.strip()))

    def check(self, commit: str, run_id: str) -> None:
        """Check that a run's commit is here.

        Raises
        ------
        ArgumentError: if it is not.
        """
        if self._git("cat-file", "-e", f"{commit}^{{commit}}") is None:
            raise ArgumentError(
                f"{self.folder}: has no commit {commit[:10]}, at which run {run_id} was made; fetch it, "
                "for example with `git fetch --unshallow`"
            )

    def path(self, good: str, bad: str) -> list[str]:
        """Return the commits from a good one to a bad one, both included, oldest first.

        Raises
        ------
        ArgumentError: if the good commit is not an ancestor of the bad one.
        """
        if self._git("merge-base", "--is-ancestor", good, bad) is None:
            raise ArgumentError(
                f"commit {good[:10]} is not an ancestor of {bad[:10]}, so there are no commits between to walk; "
                "name two runs of one branch with --good and --bad"
            )
        return [good, *reversed(self.between(good, bad))]

    def between(self, good: str, bad: str, path: str = "") -> list[str]:
        """Return the commits after a good one up to a bad one, newest first; with a path, those that changed it."""
        only = ("--", path) if path else ("--",)
        return (self._git("rev-list", "--first-parent", f"{good}..{bad}", *only) or "").split()

    def subject(self, commit: str) -> str:
        """Return the first line of a commit's message, its author and its date."""
        return (self._git("log", "-1", "--format=%s (%an, %as)", commit, "--") or commit).strip()

    @contextmanager
    def checked_out(self, commit: str) -> Iterator[Path]:
        """Give a folder with the files of a commit; it is removed at the end.

        Raises
        ------
        OutputError: if it cannot be made.
        """
        with tempfile.TemporaryDirectory(prefix="ane-harness-bisect-") as folder:
            tree = Path(folder).resolve() / "tree"
            words = ("worktree", "add", "--quiet", "--detach", str(tree), commit)
            done = subprocess.run(
                ("git", "-C", str(self.folder), "-c", "core.hooksPath=/dev/null", *words),
                capture_output=True,
                text=True,
                check=False,
            )
            try:
                if done.returncode:
                    raise OutputError(f"{tree}: cannot check out commit {commit[:10]}: {squeezed(done.stderr)}")
                yield tree
            finally:
                self._git("worktree", "remove", "--force", str(tree))

    def _git(self, *words: str) -> str | None:
        return output("git", "-C", str(self.folder), *words, seconds=SECONDS)
