"""Find what else changed between two runs: commits, versions, the machine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from harness.records.machine import Environment
from harness.system.command import output
from harness.system.text import plural

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class Between:
    """The other changes between two runs.

    Parameters
    ----------
    environments: as JSON, by the run's id.
    """

    def __init__(self, environments: Mapping[str, bytes]) -> None:
        self._environments = environments
        self._commits: dict[tuple[str, str], tuple[str, ...]] = {}

    def between(self, last: str, night: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the differences between the environments of two runs, and the commits between, newest first."""
        old, new = self._environment(last), self._environment(night)
        if old is None or new is None:
            return (), ()
        commits = self._log(old.git_commit, new.git_commit) if old.git_commit != new.git_commit else ()
        return tuple(differences(old, new, len(commits))), commits

    def _environment(self, run: str) -> Environment | None:
        """Return the environment of a run; None if its record holds none that can be read."""
        try:
            return msgspec.json.decode(self._environments.get(run, b""), type=Environment)
        except msgspec.MsgspecError:
            return None

    def _log(self, old: str, new: str) -> tuple[str, ...]:
        """Return the commits between two, newest first, if this checkout has them."""
        if (old, new) not in self._commits:
            folder = Path(__file__).parent
            words = ("git", "-C", str(folder), "log", "--format=%h %s", f"{old}..{new}", "--")
            known_to_git = re.fullmatch("[0-9a-f]+", old) and re.fullmatch("[0-9a-f]+", new)
            said = output(*words) if known_to_git else None
            self._commits[old, new] = tuple((said or "").splitlines())
        return self._commits[old, new]


def differences(old: Environment, new: Environment, commits: int = 0) -> Iterator[str]:
    """Yield what differs between two environments: ``coremltools 9.0 to 9.1``."""
    if old.git_commit != new.git_commit:
        many = f" ({plural(commits, 'commit')})" if commits else ""
        yield f"commit {old.git_commit[:10] or 'unknown'} to {new.git_commit[:10] or 'unknown'}{many}"
    for name in ("os", "chip"):
        if getattr(old, name) != getattr(new, name):
            yield f"{getattr(old, name)} to {getattr(new, name)}"
    for name in {**old.versions, **new.versions}:
        before, now = old.versions.get(name), new.versions.get(name)
        if before != now:
            yield f"{name} {before or 'none'} to {now or 'none'}"
