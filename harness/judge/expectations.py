"""The changes that a run would make to the expected state, model by model.

Only rows that a comparison distinguishes from their expectation are replaced: a metric that moved within its tolerance
keeps its figure, so that a diff shows only real changes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from harness.judge.expected_times import with_times, with_times_of, without_times
from harness.judge.regress import asked, compare
from harness.measure.metrics import tolerances
from harness.records.baselines import COUNTS, Baseline, Expectation
from harness.records.lookup import Side
from harness.records.outcomes import NOT_FINITE
from harness.records.schema import ROW

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from harness.records.schema import Record
    from harness.records.verdicts import Verdict

NEVER_EXPECTED = ("timed out", "killed", "out of memory", "skipped")
"""Statuses that depend on a machine or a day, and cannot be expected of the model."""


COMPARED = ("ok", "wrong")
"""Statuses of rows whose output was compared: their metrics are null only if they are not finite."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """The changes that a run would make to one model's baseline."""

    model: str
    changed: list[Verdict] = field(default_factory=list)
    """The differences from the expectation, each with its sentence."""
    added: list[str] = field(default_factory=list)
    """Titles of rows that have no expectation yet."""
    kept: list[str] = field(default_factory=list)
    """Titles of rows that are absent from the run or did not finish; their expectation stays."""
    baseline: Baseline | None = None
    """The baseline to be written; None if nothing changes, or if nothing of the model is left."""
    remove: bool = False
    """Whether to remove the model's file: when pruning, if the run was asked for the model and has no row of it."""

    @property
    def changes(self) -> bool:
        """Whether there is something to write."""
        return self.baseline is not None or self.remove


def propose(run: Side, previous: Mapping[str, Baseline], *, prune: bool = False, times: bool = False) -> list[Proposal]:
    """Return the changes of a run as one proposal for each model, in their order.

    Parameters
    ----------
    run: the records to expect from now on.
    previous: the baselines so far, by model.
    prune: whether to remove rows and models that the run was asked for and does not have.
    times: whether to expect the run's times on its machine; without, times are neither judged nor changed.
    """
    records = {record.row: record for record in run.records}
    verdicts: dict[str, list[Verdict]] = {}
    judged = {model: one if times else without_times(one) for model, one in previous.items()}
    for verdict in compare(Side("the baselines", baselines=judged), run):
        verdicts.setdefault(verdict.model, []).append(verdict)
    wanted = asked((one.row for baseline in previous.values() for one in baseline.rows), run)
    return [
        _of_model(
            model,
            {row: record for row, record in records.items() if record.model == model},
            previous.get(model),
            verdicts.get(model, []),
            gone=[row for row in sorted(wanted - records.keys()) if row[0] == model],
            prune=prune,
            times=times,
        )
        for model in sorted({row[0] for row in (*wanted, *records)})
    ]


def _of_model(
    model: str,
    records: Mapping[tuple[str, ...], Record],
    old: Baseline | None,
    verdicts: Iterable[Verdict],
    *,
    gone: Sequence[tuple[str, ...]],
    prune: bool,
    times: bool,
) -> Proposal:
    rows: dict[tuple[str, ...], Expectation] = {one.row: one for one in old.rows} if old else {}
    proposal = Proposal(model, remove=prune and not records)
    timed = {(row, name) for row, record in records.items() for name in record.samples}
    told = {one.row for one in verdicts if one.kind != "unchanged" and (one.row, one.measure) not in timed}
    proposal.changed.extend(
        one for one in verdicts if one.kind != "unchanged" and one.row in rows and one.row in records
    )
    for row, record in records.items():
        if record.status in NEVER_EXPECTED:
            proposal.kept.append(f"{record.title} ({record.status})")
        elif record.outcome == NOT_FINITE or (record.status in COMPARED and None in record.metrics.values()):
            proposal.kept.append(f"{record.title} (its output is not finite)")
        elif row not in rows:
            proposal.added.append(record.title)
            rows[row] = _expected(record)
        elif row in told:
            rows[row] = with_times_of(_expected(record), rows[row])
        if times and row in rows and record.status == "ok":
            rows[row] = with_times(rows[row], record)
    for row in gone:
        if prune:
            del rows[row]
        else:
            proposal.kept.append(rows[row].title)
    new = tuple(sorted(rows.values(), key=lambda one: one.row))
    if not new or (old and new == old.rows):
        return proposal
    return _with(proposal, _baseline(model, old, new, records))


def _with(proposal: Proposal, baseline: Baseline) -> Proposal:
    return Proposal(proposal.model, proposal.changed, proposal.added, proposal.kept, baseline)


def expectation(record: Record) -> Expectation:
    """Return the expectation that a record gives."""
    return Expectation(
        **{name: getattr(record, name) for name in (*ROW, *COUNTS, "definition", "status")},
        reason="" if record.status == "ok" else record.reason,
        metrics={
            name: _rounded(record.metrics[name])
            for name in tolerances()
            if record.status in COMPARED and name in record.metrics
        },
        fused_sites={site.name: site.module for site in record.sites if site.fused},
        missed_sites={site.name: site.module for site in record.sites if not site.fused},
    )


def _rounded(value: float | None) -> float | None:
    """Round to 4 significant digits, or near 1 to those of the distance from 1, so that diffs have less noise."""
    if value is None or not math.isfinite(value):
        return None
    if 0.9 < value < 1:
        return 1 - float(f"{1 - value:.4g}")
    return float(f"{value:.4g}")


def _expected(record: Record) -> Expectation:
    """Return the expectation of a row; a device's metrics are left out, since they depend on the device."""
    found = expectation(record)
    return found if record.executor == "reference" else msgspec.structs.replace(found, metrics={})


def _baseline(
    model: str, old: Baseline | None, rows: tuple[Expectation, ...], records: Mapping[tuple[str, ...], Record]
) -> Baseline:
    versions = next(iter(records.values())).environment.versions if records else (old.versions if old else {})
    return Baseline(
        model=model,
        versions={name: one for name, one in versions.items() if name not in ("python", "ane-rms")},
        tolerances={**tolerances(), **(old.tolerances if old else {})},
        rows=rows,
    )
