"""Times in baselines: each row may hold samples of some machines, and a run is judged by those of its own machine.

The machine is the one of :func:`harness.judge.times.machine`: system build, architecture, chip, cores, memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from harness.judge.times import machine
from harness.records.baselines import ExpectedTimes

if TYPE_CHECKING:
    from harness.records.baselines import Baseline, Expectation
    from harness.records.schema import Record


def fingerprint(record: Record) -> str:
    """Return the machine of a record in words: ``macOS 15.1 (24B83), arm64, Apple M3, 8 cores, 16 GiB``."""
    return ", ".join(filter(None, machine(record)))


def with_times(expectation: Expectation, record: Record) -> Expectation:
    """Return an expectation with the times of a record for its machine; those of other machines stay."""
    samples = {name: tuple(float(f"{one:.6g}") for one in values) for name, values in record.samples.items() if values}
    if not samples:
        return expectation
    times = ExpectedTimes(samples, record.pair, record.condition)
    return msgspec.structs.replace(expectation, times={**expectation.times, fingerprint(record): times})


def with_times_of(expectation: Expectation, old: Expectation) -> Expectation:
    """Return an expectation with the times of the one that it replaces, unless the two are of other definitions."""
    times = old.times if old.definition == expectation.definition else {}
    return msgspec.structs.replace(expectation, times=times)


def without_times(baseline: Baseline) -> Baseline:
    """Return a baseline without any times."""
    rows = tuple(msgspec.structs.replace(row, times={}) for row in baseline.rows)
    return msgspec.structs.replace(baseline, rows=rows)


def as_measured(expectation: Expectation, record: Record) -> Record | None:
    """Return the record with the times expected on its machine in place of its own; None if none are expected there.

    Such a record is the base of a comparison of times, whose statistics are those between any two sessions.
    """
    times = expectation.times.get(fingerprint(record)) if expectation.times else None
    if times is None:
        return None
    return msgspec.structs.replace(
        record, samples=times.samples, pair=times.pair, condition=times.condition, status="ok"
    )
