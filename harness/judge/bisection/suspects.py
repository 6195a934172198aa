"""Which inputs of a result differ between two runs: code, packages, the zoo file, the weights, the machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.judge.bisection.question import subject_of
from harness.system.text import plural

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.judge.bisection.commits import Repository
    from harness.judge.bisection.question import Question


@dataclass(frozen=True, slots=True)
class Suspect:
    """One input, and whether it differs."""

    name: str
    differs: bool
    detail: str


def suspects(question: Question, repository: Repository) -> list[Suspect]:
    """Return the code, each package, the zoo file and the weights, differing or not, and the machine if it differs."""
    good, bad = question.good, question.bad
    commits = repository.between(good.commit, bad.commit) if good.commit != bad.commit else []
    code = f"{good.commit[:10]} to {bad.commit[:10]} ({plural(len(commits), 'commit')})"
    return [
        Suspect("code", bool(commits), code if commits else f"commit {good.commit[:10]} in both"),
        *_packages(question),
        _zoo_file(question, repository),
        _weights(question),
        *_machine(question),
    ]


def _packages(question: Question) -> Iterator[Suspect]:
    before, now = (end.environment.versions for end in (question.good, question.bad))
    for name in {**before, **now}:
        if name != "ane-rms":
            was, is_ = before.get(name) or "none", now.get(name) or "none"
            yield Suspect(name, was != is_, f"{was} to {is_}" if was != is_ else f"{was} in both")


def _zoo_file(question: Question, repository: Repository) -> Suspect:
    path = f"models/{question.model}.toml"
    commits = repository.between(question.good.commit, question.bad.commit, path)
    said = f"{path}: changed by {plural(len(commits), 'commit')}, {commits[-1][:10]} the last" if commits else path
    return Suspect("zoo file", bool(commits), said)


def _weights(question: Question) -> Suspect:
    """Compare the weights' names, and digests where the zoo file does not explain that they differ."""
    good, bad = question.good.record, question.bad.record
    if good.checkpoint != bad.checkpoint:
        return Suspect("weights", True, f"{good.checkpoint or 'seeded'} to {bad.checkpoint or 'seeded'}")
    if good.checkpoint and good.definition != bad.definition and subject_of(good) == subject_of(bad):
        return Suspect("weights", True, f"digest {good.definition[:12]} to {bad.definition[:12]}")
    return Suspect("weights", False, f"{good.checkpoint or f'seeded, seed {good.seed}'} in both")


def _machine(question: Question) -> Iterator[Suspect]:
    good, bad = question.good.environment, question.bad.environment
    for name in ("os", "chip"):
        if getattr(good, name) != getattr(bad, name):
            yield Suspect(name, True, f"{getattr(good, name)} to {getattr(bad, name)}, which cannot be walked")
