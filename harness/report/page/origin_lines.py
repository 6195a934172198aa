"""The lines at the head of a report on where its records come from: time, machine, executor, commit, versions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from harness.system.text import some

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.records.schema import Record

PACKAGES = ("coremltools", "torch", "transformers", "python")
"""Packages whose versions are at the head of the page."""


def recorded(records: Sequence[Record]) -> str:
    """Return a sentence with the time, the machines and the executors of some records, at least one."""
    made = sorted(record.time for record in records)
    executors = sorted({record.executor for record in records})
    machines = sorted({f"{one.chip or one.machine}, {one.os}" for one in (record.environment for record in records)})
    return f"Recorded {span(made[0], made[-1])} on {some(machines)}; run by {some(executors)}."


def versions(records: Sequence[Record]) -> str:
    """Return a sentence with the commits and versions of the records."""
    environments = {msgspec.json.encode(record.environment): record.environment for record in records}.values()
    unclean = {True: "", None: "", False: " with uncommitted changes"}
    commits = sorted({f"{one.git_commit[:10]}{unclean[one.git_clean]}" for one in environments if one.git_commit})
    found = [
        f"{name} {some(known)}"
        for name in PACKAGES
        if (known := sorted({one.versions[name] for one in environments if one.versions.get(name)}))
    ]
    return "; ".join(filter(None, (f"Commit {some(commits) or 'unknown'}", ", ".join(found)))) + "."


def span(first: str, last: str) -> str:
    """Return two ISO 8601 times as one span, to the minute: ``2026-01-31 23:59 to 2026-02-01 00:20 UTC``."""
    (day, start), (last_day, end) = ((time[:10], time[11:16]) for time in (first, last))
    if day == last_day:
        return f"{day} {start}{'' if start == end else f' to {end}'} UTC"
    return f"{day} {start} to {last_day} {end} UTC"
