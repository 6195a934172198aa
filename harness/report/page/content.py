"""The content of a report before it is HTML: the headline, regressions, improvements, doubts, the models in order."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from harness.judge.severity import JUDGED, headline
from harness.report import rescale_table
from harness.report.engine_table import HEADERS, NOTE
from harness.report.page.findings import TONES, Count, Finding, Group, finding
from harness.report.page.origin_lines import recorded, versions
from harness.report.page.overview import Overview, overview
from harness.system.text import plural

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.records.schema import Record
    from harness.records.verdicts import Verdict

MOST_LISTED = 50
"""Number of findings of one kind at the top of the page; the rest are in the models' sections and in the table."""

LISTED = ("regression", "suspicious", "improvement", "accepted", "not comparable", "insufficient data")
OPEN = ("regression", "suspicious")

CHANGES = "Figures that went to another level within the last runs; the section of each model has the charts."
NO_HISTORY: Mapping[str, Any] = {"nights": [], "series": {}}


@dataclass(frozen=True)
class Page:
    """A report's content.

    Parameters
    ----------
    records: the rows of the run.
    run: the run's id, or the name of its file.
    base: the comparison's base, in words; empty for none.
    verdicts: the comparison's verdicts, worst first; None if there was no comparison.
    history: ``nights`` and ``series``, as ``harness.report.page.recent_nights`` makes them.
    changes: the history's changes of the last nights.
    regimes: the errors of one norm by input regime, and the run that measured them.
    notes: warnings about the data: a half-written line, a file left out.
    predictions: rows of the engine model's summary; never measurements.
    before: the rows of another run, to be shown beside these.
    """

    records: Sequence[Record]
    run: str
    base: str = ""
    verdicts: Sequence[Verdict] | None = None
    history: Mapping[str, Any] = field(default_factory=lambda: NO_HISTORY)
    changes: Sequence[Finding] = ()
    regimes: Mapping[str, Any] | None = None
    notes: Sequence[str] = ()
    predictions: Sequence[Sequence[str]] = ()
    before: Sequence[Record] = ()
    prediction_headers: Sequence[str] = tuple(HEADERS)
    prediction_note: str = NOTE

    @cached_property
    def wrong(self) -> list[Record]:
        """The records that are not ok."""
        return [record for record in self.records if record.status != "ok"]

    @cached_property
    def recorded(self) -> set[str]:
        """The models that have a section; a vanished model has none."""
        return {record.model for record in self.records}

    @cached_property
    def kinds(self) -> list[str]:
        """The worst verdict of each record, in their order; "" for a record without a verdict."""
        worst: dict[tuple[str, ...] | str, str] = {}
        for verdict in self.verdicts or ():  # worst first
            worst.setdefault(verdict.row, verdict.kind)
            if verdict.kind == "not comparable":  # its row is the base's, and may be absent from this run
                worst.setdefault(verdict.title, verdict.kind)
        return [worst.get(record.row) or worst.get(record.title, "") for record in self.records]

    @cached_property
    def _found(self) -> Counter[str]:
        """Number of rows, and of vanished rows or models, by their worst verdict."""
        rows: set[tuple[str, ...] | str] = {record.row for record in self.records}
        titles = {record.title for record in self.records}
        gone = Counter(
            verdict.kind
            for verdict in self.verdicts or ()
            if verdict.row not in rows and not (verdict.kind == "not comparable" and verdict.title in titles)
        )
        return Counter(filter(None, self.kinds)) + gone

    @cached_property
    def findings(self) -> list[Finding]:
        """The findings of all verdicts other than ``unchanged``."""
        return [
            finding(verdict.kind, verdict.model, verdict.title, verdict.sentence)
            for verdict in self.verdicts or ()
            if verdict.kind != "unchanged"
        ]

    @property
    def tone(self) -> str:
        """``worse``, ``doubt`` or ``fine``; empty if nothing was judged."""
        if self._found["regression"] or self.wrong:
            return "worse"
        if self._found["suspicious"]:
            return "doubt"
        judged = any(verdict.kind in JUDGED for verdict in self.verdicts or ())
        return "fine" if self.records and judged else ""

    @cached_property
    def _undecided(self) -> int:
        """Number of rows with a time that too few or too noisy samples leave undecided."""
        return len({verdict.row for verdict in self.verdicts or () if verdict.kind == "insufficient data"})

    @property
    def headline(self) -> str:
        """The verdict in one line."""
        return headline(self.records, self.verdicts)

    @property
    def lead(self) -> list[str]:
        """Return the lines under the headline."""
        lines = []
        if self.base:
            lines.append(f"Compared with {self.base}.")
        elif self.verdicts is None:
            lines.append(
                "There was nothing to compare with: ane-harness report --base names a run, a file or a revision."
            )
        if self._undecided:
            lines.append(f"{plural(self._undecided, 'row')} with times that too few or too noisy samples leave open.")
        return lines

    @property
    def origin(self) -> list[str]:
        """Return the lines on time, machine, executor, commit and versions."""
        return [recorded(self.records), versions(self.records)] if self.records else []

    @cached_property
    def overviews(self) -> list[Overview]:
        """The run at a glance; if it is shown beside another, the other first."""
        if not self.before:
            return [overview(self.records)] if self.records else []
        return [overview(self.before, self.base), overview(self.records, self.run)]

    @property
    def counts(self) -> list[Count]:
        """Return the number of rows of each verdict, and of each status that is not ok."""
        verdicts = [
            Count(name, self._found[name], tone.sign, tone.tone) for name, tone in TONES.items() if self._found[name]
        ]
        statuses = Counter(record.status for record in self.records)
        bad = [Count(name, number, "\u2715", "worse") for name, number in statuses.items() if name != "ok"]
        return [*verdicts, *bad, Count("ok", statuses["ok"], "\u2713", "better")]

    @property
    def groups(self) -> list[Group]:
        """Return the findings, worst first, with the rows that are not ok among them."""
        kinds = defaultdict(list)
        for one in self.findings:
            kinds[one.verdict].append(one)
        groups = [
            Group(
                TONES[name].title,
                TONES[name].about,
                found[:MOST_LISTED],
                max(0, len(found) - MOST_LISTED),
                name not in OPEN,
            )
            for name in LISTED
            if (found := kinds[name])
        ]
        worse = {(one.model, one.title) for one in kinds["regression"]}
        wrong = [record for record in self.wrong if (record.model, record.title) not in worse]
        if wrong:
            groups.insert(bool(worse), _not_ok(wrong, "What else is not ok" if worse else "What is not ok"))
        if self.changes:
            place = sum(not group.folded for group in groups)
            left = max(0, len(self.changes) - MOST_LISTED)
            groups.insert(place, Group("What changed of late", CHANGES, self.changes[:MOST_LISTED], left, folded=False))
        return groups

    @property
    def models(self) -> list[dict[str, str]]:
        """Return each model with the text of its section's line, those with a regression or a failure first."""
        rows: dict[str, list[Record]] = defaultdict(list)
        for record in self.records:
            rows[record.model].append(record)
        found: dict[str, Counter[str]] = defaultdict(Counter)
        for record, verdict in zip(self.records, self.kinds, strict=True):
            found[record.model][verdict] += 1
        lines = [_model(model, records, found[model]) for model, records in rows.items()]
        order = list(dict.fromkeys(tone.tone for tone in TONES.values()))
        return sorted(lines, key=lambda line: order.index(line["tone"]))

    @property
    def rescaled(self) -> list[list[str]]:
        """Return the table of the regions that a rescale scaled or left: its headers, then its rows; or nothing."""
        table = rescale_table.table(self.records)
        rows = [[column.plain(row) for column in table.columns] for row in table.rows]
        return [[column.header for column in table.columns], *rows] if rows else []

    @property
    def foot(self) -> list[str]:
        """Return the end of the page: notes on the data, and the number of records."""
        return [
            *self.notes,
            f"{plural(len(self.records), 'record')} of run {self.run}; the file is complete in itself.",
        ]

    def embedded(self) -> dict[str, Any]:
        """Return the data that the page's scripts need in addition to the table and the details."""
        return {
            "rows": len(self.records),
            "models": self.models,
            "verdicts": None if self.verdicts is None else self.kinds,
            "findings": self.findings,
            "tones": TONES,
            "regimes": self.regimes,
        }


def _not_ok(wrong: Sequence[Record], title: str) -> Group:
    listed = [
        Finding(record.status, record.model, record.title, record.reason, "\u2715", "worse")
        for record in wrong[:MOST_LISTED]
    ]
    return Group(title, "", listed, max(0, len(wrong) - MOST_LISTED), folded=False)


def _model(model: str, records: Sequence[Record], found: Counter[str]) -> dict[str, str]:
    wrong = sum(record.status != "ok" for record in records)
    for verdict in ("regression", "suspicious", "improvement"):
        if found[verdict] and not (wrong and verdict != "regression"):
            tone = TONES[verdict]
            return {"model": model, "summary": f"{tone.sign} {plural(found[verdict], verdict)}", "tone": tone.tone}
    if wrong:
        return {"model": model, "summary": f"\u2715 {wrong} of {plural(len(records), 'row')} not ok", "tone": "worse"}
    return {"model": model, "summary": f"{plural(len(records), 'row')} ok", "tone": "plain"}
