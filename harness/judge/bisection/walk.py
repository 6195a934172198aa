"""Walk commits, or versions of packages, from a good run to a bad one, and name the first bad one.

Both ends are measured first: a change that does not show again on this machine cannot be searched for. With fresh
environments the code and the packages are told apart by a third measurement, of the bad code with the good packages.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from harness.errors import ArgumentError
from harness.judge.bisection.halving import first_bad
from harness.judge.figures import text
from harness.system.text import plural

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.judge.bisection.answers import Answer
    from harness.judge.bisection.question import Question

Pins = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Place:
    """One point between the two runs."""

    commit: str
    pins: Pins = ()
    """Versions of the packages; empty for the environment that the bisection runs in."""
    name: str = ""
    """What distinguishes the place from its neighbours: ``commit 0123456789`` or ``torch 2.13.0``."""


@dataclass(frozen=True, slots=True)
class Found:
    """The end of a walk."""

    last_good: Place
    first_bad: Place
    good: Answer
    bad: Answer
    untested: tuple[Place, ...] = ()
    """Places between the two that could not be measured."""


@dataclass
class Walk:
    """The measurements of one walk, in the order asked for."""

    question: Question
    ask: Callable[[str, Pins], Answer]
    """Measures a commit in an environment."""
    releases: Callable[[str, str, str], list[str]]
    """The versions of a package from one to another."""
    here: Question | None = None
    """The question with the figures of both ends as measured on this machine."""
    seen: dict[Place, Answer] = field(default_factory=dict)

    def code(self, commits: Sequence[str]) -> Found:
        """Find the first bad commit in the environment that runs.

        Raises
        ------
        ArgumentError: if the two ends do not differ here.
        """
        places = [_of_commit(one) for one in commits]
        if not self._shows(places[0], places[-1]):
            changed = ", ".join(name for name, _ in _changed(self.question))
            mend = f"{changed} changed as well; pass --environments" if changed else "no package changed"
            raise ArgumentError(f"the code does not decide: {self._ends(places[0], places[-1])}; {mend}")
        return self._search(places)

    def everything(self, commits: Sequence[str]) -> Found:
        """Find the first bad commit, or the first bad version of a package, in fresh environments.

        Raises
        ------
        ArgumentError: if the two ends do not differ here.
        """
        good_pins, bad_pins = self.question.good.pins, self.question.bad.pins
        start, end = _of_commit(commits[0], good_pins), _of_commit(commits[-1], bad_pins)
        if not self._shows(start, end):
            raise ArgumentError(f"the change does not show on this machine: {self._ends(start, end)}")
        new_code = _of_commit(commits[-1], good_pins)
        if len(commits) > 1 and (good_pins == bad_pins or self._is_bad(new_code)):
            return self._search([_of_commit(one, good_pins) for one in commits])
        return self._packages(new_code)

    def verdict(self, answer: Answer) -> bool | None:
        """Return whether a measurement is bad; None if there is none."""
        return None if answer.why else (self.here or self.question).is_bad(answer.figure)

    def _shows(self, good: Place, bad: Place) -> bool:
        """Return whether the change shows between two places on this machine; from then on its figures here count."""
        ends = self._answer(good), self._answer(bad)
        self.here = None if any(one.why for one in ends) else self.question.measured(*(one.figure for one in ends))
        return self.here is not None

    def _packages(self, start: Place) -> Found:
        """Find the first package that makes the good environment bad, then its first bad version."""
        places = [start]
        for name, version in _changed(self.question):
            pins = dict(places[-1].pins)
            pins.pop(name, None)
            if version:
                pins[name] = version
            places.append(Place(start.commit, tuple(sorted(pins.items())), f"{name} {version or 'none'}"))
        found = self._search(places)
        before, after = dict(found.last_good.pins), dict(found.first_bad.pins)
        (name, *others) = [one for one in {**before, **after} if before.get(one) != after.get(one)]
        if others or name not in before or name not in after:
            return found
        versions = self.releases(name, before[name], after[name])
        return self._search(
            [
                Place(start.commit, tuple(sorted({**before, name: version}.items())), f"{name} {version}")
                for version in versions
            ]
        )

    def _search(self, places: Sequence[Place]) -> Found:
        low, high = first_bad(len(places), lambda at: self._is_bad(places[at]))
        good, bad = places[low], places[high]
        return Found(good, bad, self._answer(good), self._answer(bad), tuple(places[low + 1 : high]))

    def _is_bad(self, place: Place) -> bool | None:
        return self.verdict(self._answer(place))

    def _answer(self, place: Place) -> Answer:
        answer = self.ask(place.commit, place.pins)
        self.seen[place] = answer
        return answer

    def _ends(self, good: Place, bad: Place) -> str:
        said = []
        for place in (good, bad):
            answer = self._answer(place)
            figure = answer.why or f"{self.question.measure} {text(self.question.measure, answer.figure)}"
            said.append(f"{figure} at commit {place.commit[:10]}")
        was, is_ = (text(self.question.measure, end.figure) for end in (self.question.good, self.question.bad))
        return f"{' and '.join(said)}, {was} and {is_} in the runs"


def _of_commit(commit: str, pins: Pins = ()) -> Place:
    return Place(commit, pins, f"commit {commit[:10]}")


def _changed(question: Question) -> list[tuple[str, str]]:
    """Return name and new version of each package that differs; the version is empty if it is gone."""
    before, after = dict(question.good.pins), dict(question.bad.pins)
    return [(name, after.get(name, "")) for name in {**before, **after} if before.get(name) != after.get(name)]


def sentence(question: Question, found: Found, subject: str) -> str:
    """Return the finding in one sentence, with its evidence.

    Parameters
    ----------
    question: the figure.
    found: the end of the walk.
    subject: subject, author and date of the first bad commit, if a commit was found.
    """
    figures = (text(question.measure, one.figure) for one in (found.bad, found.good))
    what = f"{found.first_bad.name} {subject}".strip()
    evidence = "{} {}, {} with {}".format(question.measure, *figures, found.last_good.name)
    between = f"; {plural(len(found.untested), 'place')} between could not be measured" if found.untested else ""
    return f"first bad: {what}: {evidence}{between}"
