"""Compare a baseline with a candidate: match rows, judge gates and times, give one verdict for each figure.

Gates (:mod:`harness.judge.gates`) hold on any machine. Times compare only between measurements of one machine in one
condition, by :mod:`harness.judge.times`; a change is a ``regression`` or an ``improvement`` only where the test is
significant after correction for all times of the comparison *and* the interval lies beyond the noise floor. One of
the two alone is ``suspicious``.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

import msgspec

from harness.judge import gates
from harness.judge.expected_times import as_measured
from harness.judge.gates import Pair
from harness.judge.severity import in_order
from harness.judge.times import Rules, Times, apart, control_of, controls, judge_times, machine
from harness.measure.metrics import tolerances
from harness.records.baselines import Expectation, Tolerance
from harness.records.outcomes import is_broken
from harness.records.schema import ROW, Record
from harness.records.verdicts import Verdict
from harness.system.text import plural

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from harness.records.lookup import Side

IDENTITY = ("model", "variant", "lowering", "shape", "compression")
"""Fields that say that two rows have the same subject. If other fields of :data:`ROW` differ, they do not compare."""


class Row(msgspec.Struct, frozen=True):
    """One row of one side, with its model's tolerances."""

    about: Expectation | Record
    tolerances: dict[str, Tolerance]
    key: tuple[str, ...]
    """Its identity, :attr:`harness.records.schema.Record.row`."""

    @property
    def record(self) -> Record | None:
        """The record; None for a baseline's row."""
        return self.about if isinstance(self.about, Record) else None


def compare(base: Side, candidate: Side, rules: Rules | None = None) -> list[Verdict]:
    """Return the verdicts, worst first, in the order of the rows within a kind.

    If a side has a row more than once, the last counts.
    """
    rules = rules or Rules()
    before, now = rows_of(base), rows_of(candidate)
    verdicts: list[Verdict] = []
    times: list[Times] = []
    both, differing, gone, new = _matched(before, now)
    measured = [_measured(*rows) for rows in both]
    beside = controls(base.records or filter(None, measured)), controls(candidate.records)
    for (one, other), old in zip(both, measured, strict=True):
        verdicts += _judge(one, other, old, rules, times, beside)
    verdicts += [_not_comparable(one, other) for one, other in differing]
    missing = asked((row.key for row in gone), candidate)
    verdicts += _vanished(
        [row for row in gone if row.key in missing], {row.about.model for row in now.values()}, candidate.name
    )
    verdicts += [_new(row, base.name) for row in new]
    verdicts += judge_times(times, rules)
    return in_order(verdicts)


def asked(rows: Iterable[tuple[str, ...]], run: Side) -> set[tuple[str, ...]]:
    """Return those of the rows that a run was asked for.

    A run that was given some models, or some variants, does not miss the others. Each model that it was asked for has a
    row for each variant asked for, whatever its status.
    """
    if run.others is None:
        return set(rows)
    cases = {record.row[1:] for record in run.records}
    return {row for row in rows if row[0] not in run.others and row[1:] in cases}


def unasked(base: Side, candidate: Side) -> int:
    """Return the number of rows of the base that the candidate was not asked for and does not have."""
    if candidate.others is None:
        return 0
    absent = rows_of(base).keys() - rows_of(candidate).keys()
    return len(absent - asked(absent, candidate))


def rows_of(side: Side) -> dict[tuple[str, ...], Row]:
    """Return the rows of a side by their identity."""
    usual = tolerances()
    rows = {(key := record.row): Row(record, usual, key) for record in side.records}
    for baseline in side.baselines.values():
        rows.update({(key := one.row): Row(one, baseline.tolerances, key) for one in baseline.rows})
    return rows


def _matched(
    before: dict[tuple[str, ...], Row], now: dict[tuple[str, ...], Row]
) -> tuple[list[tuple[Row, Row]], list[tuple[Row, Row]], list[Row], list[Row]]:
    """Return pairs that compare, pairs of the same subject measured differently, and rows that only one side has."""
    left = dict(now)
    both, alone = [], []
    for key, row in before.items():
        if (other := left.pop(key, None)) is None:
            alone.append(row)
        else:
            both.append((row, other))
    like: dict[tuple[str, ...], list[Row]] = {}
    for row in left.values():
        like.setdefault(_identity(row), []).append(row)
    differing, gone = [], []
    for row in alone:
        if alike := like.get(_identity(row)):
            other = alike.pop(0)
            differing.append((row, other))
            del left[other.key]
        else:
            gone.append(row)
    return both, differing, gone, list(left.values())


def _identity(row: Row) -> tuple[str, ...]:
    found: tuple[str, ...] = _fields(row.about)
    return found


_fields = attrgetter(*IDENTITY)


def _measured(base: Row, candidate: Row) -> Record | None:
    """Return the base's record, or a record of the times that a baseline expects on the candidate's machine."""
    if isinstance(base.about, Record):
        return base.about
    return as_measured(base.about, candidate.record) if candidate.record is not None else None


def _judge(
    base: Row,
    candidate: Row,
    old: Record | None,
    rules: Rules,
    times: list[Times],
    beside: tuple[dict[tuple[str, ...], Record], ...],
) -> list[Verdict]:
    """Judge the gates of a row, and collect its times, which are judged all together.

    Parameters
    ----------
    base, candidate: the two sides of the row.
    old: the base's times, see :func:`_measured`.
    rules: for times.
    times: where they are collected.
    beside: plain conversions by session, of both sides, see :func:`harness.judge.times.controls`.
    """
    pair = _pair(base, candidate)
    was, now = base.about.definition, candidate.about.definition
    if was and now and was != now:
        text = f"another definition ({was[:12]} before, {now[:12]} now): the zoo entry or its inputs changed"
        return [pair.verdict("not comparable", "row", text)]
    tolerances = base.tolerances
    new = candidate.record
    if old is None or new is None:
        return gates.judge(pair, tolerances)
    why, label = apart(old, new), ""
    if why and rules.across_machines and machine(old) != machine(new):
        why, label = "", "across machines"
    if why and new.executor != "reference":
        tolerances = {}  # a device's precision depends on the device
    found = gates.judge(pair, tolerances)
    if why:
        return [*found, pair.verdict("not comparable", "times", why)]
    for name in old.samples:
        if name in new.samples:
            one, other = (
                control_of(record, sessions, name) for record, sessions in zip((old, new), beside, strict=True)
            )
            times.append(Times(pair, name, old, new, label, (one, other) if one and other else None))
        elif new.status == "ok" and base.record is not None:  # `run` times no row, a baseline's may be `bench`'s
            found.append(pair.verdict("suspicious", name, f"{name} is not timed any more"))
    return found


def _pair(base: Row, candidate: Row) -> Pair:
    return Pair(base.about, candidate.about, base.key, base.about.title)


def _not_comparable(base: Row, candidate: Row) -> Verdict:
    differing = [
        f"{name.replace('_', ' ')} {getattr(base.about, name) or 'none'} before, "
        f"{getattr(candidate.about, name) or 'none'} now"
        for name in ROW
        if getattr(base.about, name) != getattr(candidate.about, name)
    ]
    if not differing:
        was, now = base.about.definition, candidate.about.definition
        differing = [f"another definition ({was[:12]} before, {now[:12]} now): the checkpoint or its inputs changed"]
    pair, why = _pair(base, candidate), "; ".join(differing)
    if (broken := _broken(candidate)) and not _broken(base):
        return pair.verdict("regression", "row", f"is {broken}; was {base.about.status}, measured otherwise: {why}")
    return pair.verdict("not comparable", "row", why)


def _vanished(rows: Sequence[Row], models: set[str], where: str) -> Iterator[Verdict]:
    """Yield one verdict for a model that is missing entirely, or one for each missing row of a model."""
    gone: dict[str, list[Row]] = {}
    for row in rows:
        gone.setdefault(row.about.model, []).append(row)
    for model, missing in gone.items():
        if model not in models:
            many = plural(len(missing), "row")
            yield Verdict("regression", model, model, "row", f"{model}: vanished: {many} before, none in {where}")
            continue
        for row in missing:
            yield _pair(row, row).verdict("regression", "row", f"vanished: {where} has no such row")


def _new(row: Row, where: str) -> Verdict:
    pair = _pair(row, row)
    if broken := _broken(row):
        return pair.verdict("regression", "row", f"is new, and {broken}")
    return pair.verdict("not comparable", "row", f"is new: {where} has no such row to compare with")


def _broken(row: Row) -> str:
    """Return the status and the reason of a row whose output is broken, whatever it is compared with; "" of others."""
    about = row.about
    if not is_broken(about.status, about.outcome):
        return ""
    return f"{about.status}: {about.reason}" if about.reason else about.status
