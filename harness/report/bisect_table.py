"""The measurements of a bisection as a table, and its finding as a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.judge.bisection.walk import sentence
from harness.judge.figures import text
from harness.report.table import DECIDING, Document, Table, head, places

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.judge.bisection.walk import Found, Walk

COLUMNS = places(
    head("place", priority=DECIDING),
    head("figure", priority=DECIDING),
    head("verdict", priority=DECIDING),
    head("commit", priority=DECIDING, width=20),
)
VERDICTS = {True: "bad", False: "good", None: "not measured"}


def document(walk: Walk, found: Found, commits: Sequence[str], subject: Callable[[str], str]) -> Document:
    """Return the table of the measured places, oldest commit first, and the finding.

    Parameters
    ----------
    walk: the measurements.
    found: the end of the walk.
    commits: oldest first.
    subject: the subject, author and date of a commit.
    """
    order = {commit: number for number, commit in enumerate(commits)}
    rows = []
    for place, answer in sorted(walk.seen.items(), key=lambda pair: order[pair[0].commit]):
        figure = answer.why or text(walk.question.measure, answer.figure)
        rows.append((place.name, figure, VERDICTS[walk.verdict(answer)], subject(place.commit)))
    changed = found.first_bad.commit != found.last_good.commit
    return Document(
        [
            Table(COLUMNS, rows, "measured"),
            sentence(walk.question, found, subject(found.first_bad.commit) if changed else ""),
        ]
    )
