"""Gates: some figures must be exactly as before, others may differ by a stated tolerance. Each difference is a verdict.

Counts of the same program are not noisy, so one norm less, or one op more, is a finding by itself.
"""

from __future__ import annotations

import math
from collections import Counter
from operator import attrgetter
from typing import TYPE_CHECKING

import msgspec

from harness.measure.metrics import spec_of
from harness.records.baselines import COUNTS, Expectation, Tolerance
from harness.records.outcomes import rank
from harness.records.schema import Record
from harness.records.verdicts import Verdict
from harness.system.text import plural, some

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from harness.records.schema import SiteRecord


class Pair(msgspec.Struct, frozen=True):
    """One row on both sides: as a run recorded it, or as a baseline expects it."""

    base: Expectation | Record
    candidate: Expectation | Record
    row: tuple[str, ...]
    """The base's identity, :attr:`harness.records.schema.Record.row`."""
    title: str
    """The row in words, with which every sentence about it begins."""

    def verdict(self, kind: str, measure: str, sentence: str, **more: object) -> Verdict:
        """Return a verdict on this row; its sentence begins with the row's title."""
        return Verdict(kind, self.base.model, self.title, measure, f"{self.title}: {sentence}", row=self.row, **more)  # type: ignore[arg-type]


_gated = attrgetter("status", "outcome", *COUNTS, "metrics", "sites")


AS_BEFORE = "status, counts, ops and precision as before"
RANK = {"ok": 0, "wrong": 1}
"""The rank of each status, the worse the higher; all others are 2, since nothing was measured."""


def judge(pair: Pair, tolerances: Mapping[str, Tolerance]) -> list[Verdict]:
    """Return every difference that a gate finds, or one ``unchanged`` if there is none."""
    base, candidate = pair.base, pair.candidate
    if isinstance(base, Record) and isinstance(candidate, Record) and _gated(base) == _gated(candidate):
        return [pair.verdict("unchanged", "gates", AS_BEFORE)]  # most rows are equal, to the last digit
    found = [*_status(pair)]
    if RANK.get(pair.candidate.status, 2) < 2 and RANK.get(pair.base.status, 2) < 2:
        found += [*_outcome(pair), *_norms(pair), *_ops(pair), *_metrics(pair, tolerances)]
    return found or [pair.verdict("unchanged", "gates", AS_BEFORE)]


def _status(pair: Pair) -> Iterator[Verdict]:
    before, now = pair.base.status, pair.candidate.status
    if before == now:
        return
    rank_before, rank_now = RANK.get(before, 2), RANK.get(now, 2)
    kind = "regression" if rank_now > rank_before else "improvement" if rank_now < rank_before else "suspicious"
    why = f": {pair.candidate.reason}" if pair.candidate.reason and now != "ok" else ""
    yield pair.verdict(kind, "status", f"{_became(before, now)}{why}", base=before, candidate=now)


def _outcome(pair: Pair) -> Iterator[Verdict]:
    """Judge the outcome, if both sides have one."""
    before, now = pair.base.outcome, pair.candidate.outcome
    if not before or not now or before == now:
        return
    kind = "regression" if rank(now) > rank(before) else "improvement"
    yield pair.verdict(kind, "outcome", f"the output is {now}, was {before}", base=before, candidate=now)


def _became(before: str, now: str) -> str:
    if now == "ok":
        return f"is ok, was {before}"
    if before == "ok" and now == "failed":
        return "failed, converted and ran before"
    return f"is {now!r}, was {before!r}"


def _norms(pair: Pair) -> Iterator[Verdict]:
    """Judge the counts of norms, naming the sites."""
    base, candidate = pair.base, pair.candidate
    yield from _sites(pair)
    for name, what in (("norms_expected", "RMSNorms expected"), ("norms_executed", "RMSNorm modules executed")):
        before, now = getattr(base, name), getattr(candidate, name)
        if before is not None and before != now:
            kind = "regression" if now is None or now < before else "suspicious"
            yield pair.verdict(kind, name, f"{_count(now)} {what}, {before} before", base=before, candidate=now)
    if base.missed is not None and base.missed != candidate.missed and base.fused == candidate.fused:
        # If nothing was fused in a program, its unfused sites are neither good nor bad.
        worse = candidate.missed is None or candidate.missed > base.missed
        kind = "suspicious" if not base.lowering else "regression" if worse else "improvement"
        new = _named(pair, set(_modules(candidate, fused=False)) - set(_modules(base, fused=False)))
        yield pair.verdict(
            kind,
            "missed",
            f"{_count(candidate.missed)} sites stand unfused or are near misses, {base.missed} before{new}",
            base=base.missed,
            candidate=candidate.missed,
        )


def _sites(pair: Pair) -> Iterator[Verdict]:
    """Judge which norms are fused, with a verdict for each norm lost or gained.

    Sites are identified by their torch module, if known, since the names of values change with coremltools.
    """
    before, now = _fused(pair.base), _fused(pair.candidate)
    lost, won = list((before - now).elements()), list((now - before).elements())
    counts = f"{_count(pair.candidate.fused)} fused, {_count(pair.base.fused)} before"
    standing = {_label(name, module): name for name, module in _modules(pair.candidate, fused=False).items()}
    if lost and len(lost) == len(won) and not any(site in standing for site in lost):
        text = f"{len(lost)} fused norms have other names: {some(lost)} before, {some(won)} now; {counts}"
        yield pair.verdict("suspicious", "fused", text)
        return
    figures = {"base": pair.base.fused, "candidate": pair.candidate.fused}
    for site in lost:
        why = _why(pair, standing[site]) if site in standing else "no such norm is left in the program"
        yield pair.verdict(
            "regression", "fused", f"norm {site} is not fused any more: {why}; {counts}", site=site, **figures
        )
    for site in won:
        yield pair.verdict("improvement", "fused", f"norm {site} is fused now; {counts}", site=site, **figures)
    if not lost and not won and pair.base.fused is not None and pair.base.fused != pair.candidate.fused:
        worse = pair.candidate.fused is None or pair.candidate.fused < pair.base.fused
        yield pair.verdict("regression" if worse else "improvement", "fused", f"norms: {counts}", **figures)


def _fused(row: Expectation | Record) -> Counter[str]:
    return Counter(_label(name, module) for name, module in _modules(row, fused=True).items())


def _modules(row: Expectation | Record, *, fused: bool) -> dict[str, str]:
    """Return the torch module, or "", of each site that is fused, or is not, by the value's name."""
    if isinstance(row, Record):
        return {site.name: site.module for site in row.sites if site.fused == fused}
    return row.fused_sites if fused else row.missed_sites


def _label(name: str, module: str) -> str:
    return module or name


def _why(pair: Pair, name: str) -> str:
    site = _site(pair, name)
    return (site.reason if site else "") or f"it stands unfused as {name}"


def _site(pair: Pair, name: str) -> SiteRecord | None:
    sites = pair.candidate.sites if isinstance(pair.candidate, Record) else ()
    return next((site for site in sites if site.name == name and not site.fused), None)


def _named(pair: Pair, names: set[str]) -> str:
    """Name missed sites with their reasons."""
    words, modules = [], _modules(pair.candidate, fused=False)
    for name in sorted(names):
        site = _site(pair, name)
        label = _label(name, modules[name])
        words.append(f"{label} ({site.reason})" if site and site.reason else label)
    return f": {some(words)}" if words else ""


def _count(value: int | None) -> str:
    return "none" if value is None else str(value)


def _ops(pair: Pair) -> Iterator[Verdict]:
    """Judge the numbers of ops: more is worse; fewer is better, unless norms were lost."""
    base, candidate = pair.base, pair.candidate
    plain = (candidate.ops_before or 0) - (base.ops_before or 0)
    for name, what in (
        ("ops_after", "in the program"),
        ("ops_before", "in the program that plain ct.convert makes"),
        ("norm_ops", "in the lowered norms"),
    ):
        before, now = getattr(base, name), getattr(candidate, name)
        if before is None or before == now:
            continue
        more = 0 if now is None else now - before
        if name == "ops_before" and more == (candidate.ops_after or 0) - (base.ops_after or 0):
            continue  # reported for ops_after
        lost = (candidate.fused or 0) < (base.fused or 0)
        if lost and (name == "norm_ops" or more < 0):
            continue  # reported for the norms
        kind = "regression" if now is None or more > 0 else "improvement"
        which = "more" if more > 0 else "fewer"
        because = f"; plain ct.convert makes as many {which}" if name == "ops_after" and plain == more else ""
        text = f"{plural(abs(more), f'{which} op')} {what}" if now is not None else f"no count of ops {what}"
        yield pair.verdict(kind, name, f"{text}: {_count(now)}, {before} before{because}", base=before, candidate=now)


def _metrics(pair: Pair, tolerances: Mapping[str, Tolerance]) -> Iterator[Verdict]:
    for name, before in pair.base.metrics.items():
        if name not in tolerances:
            continue
        metric, tolerance = spec_of(name), tolerances[name]
        if name not in pair.candidate.metrics:
            yield pair.verdict("regression", name, f"{name} is not measured any more, {metric.exact(before)} before")
            continue
        now = pair.candidate.metrics[name]
        off_before, off_now = metric.distance(before), metric.distance(now)
        if off_before == off_now:
            continue
        allowed = tolerance.absolute + tolerance.relative * (off_before if math.isfinite(off_before) else 0.0)
        if abs(off_now - off_before) <= allowed:
            continue
        limit = f"{tolerance.relative:.0%} + {tolerance.absolute:g}"
        yield pair.verdict(
            "regression" if off_now > off_before else "improvement",
            name,
            f"{name} {metric.exact(now)}, {metric.exact(before)} before, beyond the tolerance of {limit}",
            base=before,
            candidate=now,
        )
