"""The text of an issue about a night that got worse: title, body and labels, for a workflow to post.

A file whose name ends in ``.json`` holds the keys ``title``, ``body`` and ``labels``. Any other file is Markdown with
front matter that holds title and labels, as GitHub's issue templates have them, and the body below it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.judge.severity import GONE, NOT_FINITE, OPS, PRECISION, TIME, UNFUSED, WRONG, severity
from harness.report import verdict_table
from harness.report.night_page import MEND, about
from harness.system.text import cell, plural

if TYPE_CHECKING:
    from harness.judge.night import Night
    from harness.records.verdicts import Verdict

LABELS = {
    GONE: "missing",
    WRONG: "wrong",
    UNFUSED: "unfused-norm",
    NOT_FINITE: "not-finite",
    PRECISION: "precision",
    TIME: "time",
    OPS: "ops",
}
"""Labels by the sort of a verdict; each issue has ``regression`` as well."""
MOST_ROWS = 50
"""Regressions listed: GitHub takes bodies of 65,536 characters."""
MOST_CHARACTERS = 60_000


@dataclass(frozen=True, slots=True)
class Issue:
    """An issue's text."""

    title: str
    body: str
    labels: tuple[str, ...]

    def encode(self, *, as_json: bool) -> bytes:
        """Return the content of the file."""
        if as_json:
            about_it = {"title": self.title, "body": self.body, "labels": self.labels}
            return json.dumps(about_it, ensure_ascii=False).encode() + b"\n"
        head = f"title: {json.dumps(self.title, ensure_ascii=False)}\nlabels: {json.dumps(list(self.labels))}"
        return f"---\n{head}\n---\n\n{self.body}\n".encode()


def issue(night: Night) -> Issue | None:
    """Return the issue of a night; None if nothing got worse."""
    worse = [one for one in night.verdicts or () if one.kind == "regression"]
    if not worse:
        return None
    listed, left = worse[:MOST_ROWS], len(worse) - MOST_ROWS
    parts = [
        about(night),
        verdict_table.github(listed),
        *([f"And {plural(left, 'more regression')}, in the report."] if left > 0 else []),
        f"{_search(worse[0])} {MEND}",
    ]
    body = "\n\n".join(parts)
    if len(body) > MOST_CHARACTERS:
        body = body[:MOST_CHARACTERS].rpartition("\n")[0] + "\n\nThe rest is in the report."
    labels = ("regression", *(LABELS[sort] for sort in sorted({severity(one) for one in worse})))
    return Issue(cell(f"Night of {night.date}: {night.headline}"), body, labels)


def _search(worst: Verdict) -> str:
    """Return the sentence that names the next step."""
    return f"The commit is found by `ane-harness bisect {cell(worst.model)} {cell(worst.measure)}`."
