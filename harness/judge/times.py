"""Compare the times of two runs, and judge them.

There are three designs, the better first. *Pairs*: base and candidate were measured alternately, in one session.
*Controlled*: two sessions, in each of which the row was measured alternately with the plain conversion of the same
model (``off``); the ratios to it are compared, so that a slower night, which slows both, cancels. *Sessions*: neither
of these; the noise floor is wider.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from operator import attrgetter
from statistics import median
from typing import TYPE_CHECKING

import msgspec

from harness.judge.gates import Pair
from harness.records.schema import Record
from harness.records.series import seconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from harness.judge.stats import Effect, Samples
    from harness.records.verdicts import Verdict

PAIRED_FLOOR = 0.01
"""Noise floor of interleaved pairs, as a share: code placement and memory layout alone change times by as much."""
SESSION_FLOOR = 0.03
"""Noise floor between two sessions on one machine, which differ by clocks, heat and other work."""
CONTROL_FLOOR = 0.02
"""Noise floor between two sessions of a row against the plain conversion beside it: common disturbances cancel."""
RESOLUTION = 0.05
"""A slowdown of this share must be excluded before a time is called unchanged."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings of a comparison."""

    across_machines: bool = False
    """Whether times of different machines are compared, with a label."""
    floor: float | None = None
    """Noise floor for all times; None for the design's own."""
    figures_of_unchanged: bool = True
    """Whether the sentence of a time that did not change has its figures: most do not, and nobody may be shown them."""


CONTROL = "off"
_session = attrgetter("pair", "model", "checkpoint", "size", "shape", "compression", "frontend", "executor")


def controls(records: Iterable[Record]) -> dict[tuple[str, ...], Record]:
    """Return the plain conversions that were measured alternately with others, by session and model."""
    return {_session(record): record for record in records if record.pair and record.variant == CONTROL}


def control_of(record: Record, found: dict[tuple[str, ...], Record], name: str) -> Record | None:
    """Return the plain conversion measured beside a record; None if there is none, or if the record is that itself."""
    one = found.get(_session(record)) if record.pair and record.variant != CONTROL else None
    return one if one is not None and one.status == "ok" and one.samples.get(name) else None


_machine = attrgetter("os", "machine", "chip", "cores", "memory_bytes")


def machine(record: Record) -> tuple[str, ...]:
    """Return the fields that tell machines apart, including the operating system's build."""
    one = record.environment
    return (one.os, one.machine, one.chip, f"{one.cores} cores", f"{one.memory_bytes / 2**30:.0f} GiB")


def apart(old: Record, new: Record) -> str:
    """Say why the times of two records do not compare; "" if they do."""
    same = old.environment is new.environment or _machine(old.environment) == _machine(new.environment)
    if not same and (here := machine(old)) != (there := machine(new)):
        differing = [pair for pair in zip(here, there, strict=True) if pair[0] != pair[1]]
        before, now = (", ".join(words) for words in zip(*differing, strict=True))
        return f"another machine ({before} before, {now} now): times are not compared"
    if old.pair and old.pair == new.pair:
        return ""
    if old.condition is None or new.condition is None:
        return ""
    for name in ("power", "low_power_mode", "thermal", "translated"):
        was, is_ = (getattr(record.condition, name) for record in (old, new))
        if was not in (None, "") and is_ not in (None, "") and was != is_:
            what = name.replace("_", " ")
            return f"another condition ({what} {was} before, {is_} now): times are not compared"
    return ""


class Times(msgspec.Struct, frozen=True):
    """The samples of one name in one row, on both sides."""

    pair: Pair
    name: str
    old: Record
    new: Record
    label: str
    controls: tuple[Record, Record] | None = None
    """The plain conversion's records of the same model, each measured alternately with this row in its session."""

    @property
    def paired(self) -> bool:
        """Whether both sides were measured alternately, in one session."""
        return bool(self.old.pair) and self.old.pair == self.new.pair

    @property
    def controlled(self) -> bool:
        """Whether each side is taken relative to the plain conversion beside it."""
        return not self.paired and self.controls is not None

    @property
    def floor(self) -> float:
        """The design's noise floor."""
        return PAIRED_FLOOR if self.paired else CONTROL_FLOOR if self.controlled else SESSION_FLOOR

    def samples(self) -> Samples:
        """Return the samples to test: times, or their ratios to the control's."""
        from harness.judge.stats import Samples

        paired = self.paired
        if self.controls is not None and not paired:
            old, new = self.controls
            return Samples(self._ratios(self.old, old), self._ratios(self.new, new), paired=False)
        base, candidate = (record.samples[self.name] for record in (self.old, self.new))
        if paired:
            fewest = min(len(base), len(candidate))
            base, candidate = base[:fewest], candidate[:fewest]
            if not (_usable(base) and _usable(candidate)):
                both = [two for two in zip(base, candidate, strict=True) if _usable(two)]
                base, candidate = tuple(two[0] for two in both), tuple(two[1] for two in both)
        return Samples(_clean(base), _clean(candidate), paired)

    def medians(self) -> tuple[float, float]:
        """Return the medians of the times of both sides, in seconds."""
        return median(_clean(self.old.samples[self.name])), median(_clean(self.new.samples[self.name]))

    def _ratios(self, record: Record, control: Record) -> tuple[float, ...]:
        pairs = zip(record.samples[self.name], control.samples[self.name], strict=False)
        return tuple(one / other for one, other in pairs if _usable((one, other)))


def _usable(values: tuple[float, ...]) -> bool:
    return bool(values) and min(values) > 0 and math.isfinite(sum(values))


def _clean(values: tuple[float, ...]) -> tuple[float, ...]:
    return values if _usable(values) else tuple(value for value in values if _usable((value,)))


def judge_times(times: Sequence[Times], rules: Rules) -> Iterator[Verdict]:
    """Judge all times of a comparison together, since the correction depends on their number."""
    from harness.judge import stats

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
    corrected = stats.holm([effect.p for effect in effects])
    for index, effect, p in zip(enough, effects, corrected, strict=True):
        one = times[index]
        medians = one.medians() if one.controlled else effect.medians
        yield _time_verdict(one, samples[index], effect._replace(p=p, medians=medians), rules)


def _time_verdict(times: Times, samples: Samples, effect: Effect, rules: Rules) -> Verdict:
    kind, why = kind_of(effect, times.floor if rules.floor is None else rules.floor)
    base, candidate = effect.medians
    unsaid = kind == "unchanged" and not rules.figures_of_unchanged
    return times.pair.verdict(
        kind,
        times.name,
        f"{times.name} as before" if unsaid else f"{_sentence(times, samples, effect)}{why}{_told(times)}",
        base=base,
        candidate=candidate,
        ratio=effect.ratio,
        interval=(effect.low, effect.high),
        p=effect.p,
        samples=min(len(samples.base), len(samples.candidate)),
        label=times.label,
    )


def _sentence(times: Times, samples: Samples, effect: Effect) -> str:
    """Return the figures of a time in words."""
    base, candidate = effect.medians
    against = "against off beside it " if times.controlled else ""
    slower = "slower" if effect.ratio > 1 else "faster"
    return (
        f"{times.name} {seconds(candidate)}, {seconds(base)} before: {against}{abs(effect.ratio - 1):.1%} {slower} "
        f"[{effect.low - 1:+.1%}, {effect.high - 1:+.1%}], p = {effect.p:.2g}, "
        f"{len(samples.base)} and {len(samples.candidate)} samples{' in pairs' if samples.paired else ''}"
    )


def _told(times: Times) -> str:
    """Return the addition to the sentence of a time that has a label."""
    return (
        f" ({times.label}: {', '.join(machine(times.old))} and {', '.join(machine(times.new))})" if times.label else ""
    )


def kind_of(effect: Effect, floor: float) -> tuple[str, str]:
    """Return the kind of a time's verdict, and the addition to its sentence."""
    from harness.judge.stats import ALPHA

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
