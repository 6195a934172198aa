"""The order and the count of verdicts, shared by tables, pages, JUnit files and headlines.

Within a kind of verdict, the worse comes first: a row that is gone or whose process was killed, then a wrong row, a
norm that is not fused, an output that is not finite, precision, time, ops. Within one sort, the larger change comes
first.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from harness.judge.figures import unit
from harness.records.outcomes import rank
from harness.records.verdicts import KINDS, Verdict
from harness.system.text import plural

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harness.records.schema import Record

GONE, WRONG, UNFUSED, NOT_FINITE, PRECISION, TIME, OPS = range(7)
JUDGED = ("regression", "suspicious", "improvement", "accepted", "unchanged")
"""Kinds of verdicts that mean that a figure was judged."""
NORMS = ("fused", "missed", "norms_executed", "norms_expected")


def severity(verdict: Verdict) -> int:
    """Return the sort of a verdict, 0 for the worst."""
    if verdict.measure == "row":
        return GONE
    if verdict.measure == "status":
        return WRONG if "wrong" in str(verdict.candidate or verdict.sentence) else GONE
    if verdict.measure in NORMS:
        return UNFUSED
    if verdict.measure == "outcome":
        return NOT_FINITE if verdict.candidate in ("not finite", rank("not finite")) else PRECISION
    if unit(verdict.measure) == "1":
        return OPS
    if unit(verdict.measure) == "s":
        return TIME
    return NOT_FINITE if verdict.candidate is None else PRECISION


def size(verdict: Verdict) -> float:
    """Return the size of a change as the magnitude of the logarithm of its ratio; 0 if there is no ratio."""
    before, now = verdict.base, verdict.candidate
    if not isinstance(before, (int, float)) or not isinstance(now, (int, float)) or not before or not now:
        return 0.0
    ratio = now / before
    return abs(math.log(ratio)) if ratio > 0 and math.isfinite(ratio) else 0.0


def in_order(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """Return verdicts by kind, then by severity, then by size; equals, and what is unchanged, keep their order."""
    return sorted(verdicts, key=_place)


def _place(verdict: Verdict) -> tuple[int, int, float]:
    kind = KINDS.index(verdict.kind)
    return (kind, 0, 0.0) if verdict.kind == "unchanged" else (kind, severity(verdict), -size(verdict))


def tally(verdicts: Iterable[Verdict], kind: str) -> tuple[int, int]:
    """Return the number of rows that have a verdict of a kind, and the number of their figures that have it."""
    found = [verdict for verdict in verdicts if verdict.kind == kind]
    return len({verdict.row or verdict.title for verdict in found}), len(found)


def worse_in_words(verdicts: Iterable[Verdict], kind: str = "regression", said: str = "got worse") -> str:
    """Return ``2 rows got worse in 3 figures``; empty if none did."""
    rows, figures = tally(verdicts, kind)
    return f"{plural(rows, 'row')} {said} in {plural(figures, 'figure')}" if figures else ""


def headline(records: Sequence[Record], verdicts: Sequence[Verdict] | None) -> str:
    """Return a judged run in one line, the same in every output.

    Parameters
    ----------
    records: of the run.
    verdicts: of its comparison and its history; None if there was nothing to judge it against.
    """
    if not records:
        return "No rows: this run recorded nothing"
    wrong = sum(record.status != "ok" for record in records)
    not_ok = f"{plural(wrong, 'row')} of {len(records):,} {'is' if wrong == 1 else 'are'} not ok"
    if verdicts is None:
        return f"Not compared; {not_ok if wrong else plural(len(records), 'row') + ' ok'}"
    judged = len({one.row or one.title for one in verdicts if one.kind in JUDGED})
    fine = f"Nothing got worse in {plural(judged, 'row')}" if judged else "Not judged: no row compares"
    accepted = worse_in_words(verdicts, "accepted", "accepted as worse")
    return "; ".join(filter(None, [worse_in_words(verdicts) or fine, not_ok if wrong else "", accepted]))
