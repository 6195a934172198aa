"""``bisect``: find the commit, or the version of a package, that made a figure worse."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import options
from harness.cli.option_set import expanded
from harness.cli.output import say
from harness.cli.table_options import TableOptions

if TYPE_CHECKING:
    from harness.judge.bisection.answers import Answer
    from harness.judge.bisection.commits import Repository
    from harness.judge.bisection.question import Question
    from harness.judge.bisection.walk import Pins


@expanded
def bisect(
    model: Annotated[str, typer.Argument(help="Key of the model.")],
    metric: Annotated[str, typer.Argument(help="The figure: a metric, a count, or a time, as verdicts name it.")],
    *,
    good: Annotated[str | None, typer.Option(help="A run before the change. Default: from the history.")] = None,
    bad: Annotated[str | None, typer.Option(help="A run after the change. Default: from the history.")] = None,
    environments: Annotated[
        bool,
        typer.Option("--environments", help="Walk package versions as well, each in a fresh virtual environment."),
    ] = False,
    repository: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="The project's checkout. Default: the one that runs.")
    ] = None,
    limit: Annotated[str, typer.Option(help="Time limit of one measurement, for example 30m.")] = "1h",
    results: options.Results = options.RESULTS,
    shown: TableOptions,
) -> None:
    """Find the first bad commit between the two runs of a change, by measuring in temporary git work trees.

    Each measurement is kept in bisect/ of --results, so that the same command goes on where it was stopped.

    Example: ane-harness bisect llama rel_l2
    """
    from harness.cli import quantities
    from harness.judge.bisection import answers, walk
    from harness.judge.bisection.at_commit import measure
    from harness.judge.bisection.commits import Repository
    from harness.judge.bisection.fresh_environment import environments as temporary
    from harness.judge.bisection.fresh_environment import releases
    from harness.report.bisect_table import COLUMNS, document

    shown.check(COLUMNS)
    seconds = quantities.seconds(limit, "--limit")
    question = _question(model, metric, good, bad, results)
    source = Repository.at(repository or Path(__file__).parent)
    _show_suspects(question, source)
    commits = _commits(question, source, environments=environments)
    path = results / "bisect" / f"{model}-{metric}.json"
    known = answers.read(path, question.key)
    kept = len(known.answers)

    with temporary() as fresh:

        def ask(commit: str, pins: Pins) -> Answer:
            if (before := known.find(commit, pins)) is not None:
                return before
            with source.checked_out(commit) as tree:
                answer = measure(question, commit, tree, fresh.python(pins, tree), pins, seconds)
            known.answers.append(answer)
            answers.write(path, known)
            say(f"{commit[:10]}: {_told(question, answer)}", err=True)
            return answer

        search = walk.Walk(question, ask, releases)
        found = search.everything(commits) if environments else search.code(commits)
    shown.show(document(search, found, commits, source.subject))
    say(f"{len(known.answers) - kept} measured now, {kept} before: {path}", err=True)


def _question(model: str, metric: str, good: str | None, bad: str | None, results: Path) -> Question:
    """Return the question: of the two runs named, or of the change that the history knows."""
    from harness.cli.selection import Notes, load_side
    from harness.errors import ArgumentError
    from harness.judge.bisection import question
    from harness.judge.nightly_series import history

    if (good is None) != (bad is None):
        raise ArgumentError("--good and --bad: name both runs, or neither")
    notes = Notes()
    if good is not None and bad is not None:
        return question.between(load_side(good, results, notes), load_side(bad, results, notes), model, metric)
    return question.from_series(history(results, [model], [metric], notes), results, model, metric)


def _show_suspects(question: Question, source: Repository) -> None:
    """Print on stderr the question, and which inputs differ between its runs."""
    from harness.judge.bisection.suspects import suspects
    from harness.judge.figures import text

    for end in (question.good, question.bad):
        source.check(end.commit, end.run_id)
    was, is_ = (text(question.measure, end.figure) for end in (question.good, question.bad))
    title = f"{question.about.title}: {question.measure} {is_} in run {question.bad.run_id}"
    say(f"{title}, {was} in run {question.good.run_id}", err=True)
    for one in suspects(question, source):
        say(f"  {'changed' if one.differs else 'same   '}  {one.name}: {one.detail}", err=True)


def _commits(question: Question, source: Repository, *, environments: bool) -> list[str]:
    """Return the commits to walk; refuse where there is nothing to walk."""
    from harness.errors import ArgumentError

    good, bad = question.good, question.bad
    if good.commit != bad.commit:
        return source.path(good.commit, bad.commit)
    if environments and good.pins != bad.pins:
        return [good.commit]
    changed = good.pins != bad.pins
    mend = "pass --environments to walk the packages that changed" if changed else "no package changed between them"
    raise ArgumentError(f"runs {good.run_id} and {bad.run_id} are both of commit {good.commit[:10]}; {mend}")


def _told(question: Question, answer: Answer) -> str:
    """Return one measurement in words."""
    from harness.judge.figures import text

    return answer.why or f"{question.measure} {text(question.measure, answer.figure)}"
