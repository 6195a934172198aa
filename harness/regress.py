"""Baseline against candidate: rows matched, gates and times judged, one verdict a figure.

Gates (:mod:`harness.gates`) hold on any machine. Times compare only between measurements of one machine in one
condition, by :mod:`harness.stats`; a change is a ``regression`` or an ``improvement`` only where the test is
significant after correction for all times of the comparison *and* the interval lies beyond the noise floor. One of
the two alone is ``suspicious``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from operator import attrgetter
from statistics import median
from typing import TYPE_CHECKING

from harness import gates
from harness.gates import Pair
from harness.store.baselines import TOLERANCES
from harness.store.schema import ROW, Record
from harness.store.series import seconds
from harness.store.verdicts import KINDS, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from harness.stats import Effect, Samples
    from harness.store.baselines import Expectation, Tolerance
    from harness.store.find import Side

PAIRED_FLOOR = 0.01
"""Noise floor of interleaved pairs, as a share: what code placement and memory layout alone change."""
SESSION_FLOOR = 0.03
"""Noise floor between two sessions on one machine, which differ by clocks, heat and other work."""
RESOLUTION = 0.05
"""A slowdown of this share must be excluded before a time is called unchanged."""

IDENTITY = ("model", "variant", "lowering", "shape", "compression")
"""Fields that say that two rows are about the same thing. Where others of :data:`ROW` differ, they do not compare."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How a comparison is made."""

    across_machines: bool = False
    """Whether times of different machines are compared, and labelled."""
    floor: float | None = None
    """Noise floor for all times; None for the design's own."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of one side, with its model's tolerances."""

    about: Expectation | Record
    tolerances: dict[str, Tolerance]

    @property
    def record(self) -> Record | None:
        """The record, if it is not a baseline's."""
        return self.about if isinstance(self.about, Record) else None


def compare(base: Side, candidate: Side, rules: Rules | None = None) -> list[Verdict]:
    """Return the verdicts, worst first, in the order of the rows within a kind.

    Where a side has a row more than once, the last counts.
    """
    rules = rules or Rules()
    before, now = rows_of(base), rows_of(candidate)
    verdicts: list[Verdict] = []
    times: list[_Times] = []
    both, differing = _matched(before, now)
    for one, other in both:
        verdicts += _judge(one, other, rules, times)
    verdicts += [_not_comparable(one, other) for one, other in differing]
    paired_off = {id(row) for pair in differing for row in pair}
    gone = [row for key, row in before.items() if key not in now and id(row) not in paired_off]
    new = [row for key, row in now.items() if key not in before and id(row) not in paired_off]
    verdicts += _vanished(gone, {row.about.model for row in now.values()}, candidate.name)
    verdicts += [_new(row, base.name) for row in new]
    verdicts += _judge_times(times, rules)
    return sorted(verdicts, key=lambda verdict: KINDS.index(verdict.kind))


def rows_of(side: Side) -> dict[tuple[str, ...], Row]:
    """Return the rows of a side by their identity."""
    rows = {record.row: Row(record, TOLERANCES) for record in side.records}
    for baseline in side.baselines.values():
        rows.update({one.row: Row(one, baseline.tolerances) for one in baseline.rows})
    return rows


def _matched(
    before: dict[tuple[str, ...], Row], now: dict[tuple[str, ...], Row]
) -> tuple[list[tuple[Row, Row]], list[tuple[Row, Row]]]:
    """Return the pairs that compare, and those that are about the same thing but measured in another way."""
    both = [(row, now[key]) for key, row in before.items() if key in now]
    left: dict[tuple[str, ...], list[Row]] = {}
    for key, row in now.items():
        if key not in before:
            left.setdefault(_identity(row), []).append(row)
    differing = []
    for key, row in before.items():
        if key not in now and left.get(_identity(row)):
            differing.append((row, left[_identity(row)].pop(0)))
    return both, differing


def _identity(row: Row) -> tuple[str, ...]:
    found: tuple[str, ...] = _fields(row.about)
    return found


_fields = attrgetter(*IDENTITY)


def _judge(base: Row, candidate: Row, rules: Rules, times: list[_Times]) -> list[Verdict]:
    """Judge the gates of a row, and put its times aside for judging all together."""
    pair = Pair(base.about, candidate.about)
    one, other = base.about.definition, candidate.about.definition
    if one and other and one != other:
        text = f"another definition ({one[:12]} before, {other[:12]} now): the zoo entry or its inputs changed"
        return [pair.verdict("not comparable", "row", text)]
    tolerances = base.tolerances
    old, new = base.record, candidate.record
    if old is None or new is None:
        return gates.judge(pair, tolerances)
    why, label = _apart(old, new), ""
    if why and rules.across_machines and machine(old) != machine(new):
        why, label = "", "across machines"
    if why and new.executor != "reference":
        tolerances = {}  # a device computes as its silicon does
    found = gates.judge(pair, tolerances)
    if why:
        return [*found, pair.verdict("not comparable", "times", why)]
    for name in old.samples:
        if name in new.samples:
            times.append(_Times(pair, name, old, new, label))
        elif new.status == "ok":
            found.append(pair.verdict("suspicious", name, f"{name} is not timed any more"))
    return found


def machine(record: Record) -> tuple[str, ...]:
    """Return what tells machines apart, the operating system's build among it."""
    one = record.environment
    return (one.os, one.machine, one.chip, f"{one.cores} cores", f"{one.memory_bytes / 2**30:.0f} GiB")


def _apart(old: Record, new: Record) -> str:
    """Say why the times of two records do not compare; "" if they do."""
    here, there = machine(old), machine(new)
    if here != there:
        differing = [pair for pair in zip(here, there, strict=True) if pair[0] != pair[1]]
        before, now = (", ".join(words) for words in zip(*differing, strict=True))
        return f"another machine ({before} before, {now} now): times are not compared"
    if old.pair and old.pair == new.pair:
        return ""
    for name in ("power", "low_power_mode", "thermal", "translated"):
        was, is_ = (getattr(record.condition, name, None) for record in (old, new))
        if was not in (None, "") and is_ not in (None, "") and was != is_:
            what = name.replace("_", " ")
            return f"another condition ({what} {was} before, {is_} now): times are not compared"
    return ""


def _not_comparable(base: Row, candidate: Row) -> Verdict:
    differing = [
        f"{name.replace('_', ' ')} {getattr(base.about, name) or 'none'} before, "
        f"{getattr(candidate.about, name) or 'none'} now"
        for name in ROW
        if getattr(base.about, name) != getattr(candidate.about, name)
    ]
    return Pair(base.about, candidate.about).verdict("not comparable", "row", "; ".join(differing))


def _vanished(rows: Sequence[Row], models: set[str], where: str) -> Iterator[Verdict]:
    """One verdict for a model that is gone as a whole, one for each row of a model that is not."""
    gone: dict[str, list[Row]] = {}
    for row in rows:
        gone.setdefault(row.about.model, []).append(row)
    for model, missing in gone.items():
        if model not in models:
            many = f"{len(missing)} row{'s' * (len(missing) != 1)}"
            yield Verdict("regression", model, model, "row", f"{model}: vanished: {many} before, none in {where}")
            continue
        for row in missing:
            pair = Pair(row.about, row.about)
            yield pair.verdict("regression", "row", f"vanished: {where} has no such row")


def _new(row: Row, where: str) -> Verdict:
    pair = Pair(row.about, row.about)
    return pair.verdict("not comparable", "row", f"is new: {where} has no such row to compare with")


@dataclass(frozen=True, slots=True)
class _Times:
    """The samples of one name in one row, on both sides."""

    pair: Pair
    name: str
    old: Record
    new: Record
    label: str

    @property
    def paired(self) -> bool:
        return bool(self.old.pair) and self.old.pair == self.new.pair

    def samples(self) -> Samples:
        from harness.stats import Samples

        base, candidate = (record.samples[self.name] for record in (self.old, self.new))
        if self.paired:
            fewest = min(len(base), len(candidate))
            base, candidate = base[:fewest], candidate[:fewest]
            if not (_usable(base) and _usable(candidate)):
                both = [two for two in zip(base, candidate, strict=True) if _usable(two)]
                base, candidate = tuple(two[0] for two in both), tuple(two[1] for two in both)
        return Samples(_clean(base), _clean(candidate), self.paired)


def _usable(values: tuple[float, ...]) -> bool:
    return bool(values) and min(values) > 0 and math.isfinite(sum(values))


def _clean(values: tuple[float, ...]) -> tuple[float, ...]:
    return values if _usable(values) else tuple(value for value in values if _usable((value,)))


def _judge_times(times: Sequence[_Times], rules: Rules) -> Iterator[Verdict]:
    """Judge all times of a comparison together, since the correction is for their number."""
    from harness import stats

    samples = [one.samples() for one in times]
    enough_at = {paired: stats.needed_samples(len(times), paired=paired) for paired in {one.paired for one in times}}
    enough: list[int] = []
    for index, (one, both) in enumerate(zip(times, samples, strict=True)):
        fewest = min(len(both.base), len(both.candidate))
        needed = enough_at[one.paired]
        if fewest >= needed:
            enough.append(index)
            continue
        text = f"{one.name}: {fewest} samples, {needed} are needed beside {len(times)} compared times"
        yield one.pair.verdict("insufficient data", one.name, text, samples=fewest, label=one.label)
    effects = stats.effects([samples[index] for index in enough])
    for index, effect, p in zip(enough, effects, stats.holm([effect.p for effect in effects]), strict=True):
        yield _time_verdict(times[index], samples[index], replace(effect, p=p), rules)


def _time_verdict(times: _Times, samples: Samples, effect: Effect, rules: Rules) -> Verdict:
    floor = rules.floor if rules.floor is not None else PAIRED_FLOOR if samples.paired else SESSION_FLOOR
    kind, why = _kind(effect, floor)
    base, candidate = median(samples.base), median(samples.candidate)
    slower = "slower" if effect.ratio > 1 else "faster"
    label = (
        f" ({times.label}: {', '.join(machine(times.old))} and {', '.join(machine(times.new))})" if times.label else ""
    )
    text = (
        f"{times.name} {seconds(candidate)}, {seconds(base)} before: {abs(effect.ratio - 1):.1%} {slower} "
        f"[{effect.low - 1:+.1%}, {effect.high - 1:+.1%}], p = {effect.p:.2g}, "
        f"{len(samples.base)} and {len(samples.candidate)} samples{' in pairs' if samples.paired else ''}{why}{label}"
    )
    return times.pair.verdict(
        kind,
        times.name,
        text,
        base=base,
        candidate=candidate,
        ratio=effect.ratio,
        interval=(effect.low, effect.high),
        p=effect.p,
        samples=min(len(samples.base), len(samples.candidate)),
        label=times.label,
    )


def _kind(effect: Effect, floor: float) -> tuple[str, str]:
    """Return the kind of a time's verdict, and what the sentence adds."""
    from harness.stats import ALPHA

    significant = effect.p <= ALPHA
    slower, faster = effect.low > 1 + floor, effect.high < 1 / (1 + floor)
    if significant and (slower or faster):
        return ("regression" if slower else "improvement"), ""
    if significant:
        return "suspicious", f"; significant, but not beyond the noise floor of {floor:.1%}"
    if slower or faster:
        return "suspicious", f"; beyond the noise floor of {floor:.1%}, but not significant"
    if effect.high > 1 + RESOLUTION or effect.low < 1 / (1 + RESOLUTION):
        return "insufficient data", f"; too noisy to exclude a change of {RESOLUTION:.0%}"
    return "unchanged", ""
