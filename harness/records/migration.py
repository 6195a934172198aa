"""Migrate records of older schemas step by step; refuse those of newer ones with the remedy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from harness.errors import RecordError
from harness.records import repeated_parts
from harness.records.outcomes import outcome_of
from harness.records.schema import SCHEMA_VERSION, Record

if TYPE_CHECKING:
    from collections.abc import Callable


def _from_1(record: dict[str, Any]) -> dict[str, Any]:
    """Version 2 only added fields; the default of each is true for records of version 1."""
    return record


def _from_2(record: dict[str, Any]) -> dict[str, Any]:
    """Version 3 added the outcome, which the metrics of version 2 decide; its status stays as it was recorded."""
    metrics = msgspec.convert(record.get("metrics", {}), dict[str, float | None])
    return {**record, "outcome": outcome_of(metrics)}


STEPS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _from_1, 2: _from_2}
"""Migrations from a version to the next."""


class _Version(msgspec.Struct):
    schema_version: int


_version = msgspec.json.Decoder(_Version)
_record = msgspec.json.Decoder(Record)


def decode(line: bytes) -> Record:
    """Return the record in a line of JSON, whichever schema version wrote it.

    Raises
    ------
    RecordError: for a line that is not a record, or that has a newer schema.
    """
    try:
        if (record := _current(line)) is not None:
            return record
        version = _version.decode(line).schema_version
        if version == SCHEMA_VERSION:
            return _record.decode(line)
        if version > SCHEMA_VERSION:
            raise RecordError(
                f"schema version {version} is newer than this harness's {SCHEMA_VERSION}; upgrade ane-rms to read it"
            )
        if version not in STEPS:
            raise RecordError(
                f"unknown schema version {version}; known: {', '.join(map(str, [*STEPS, SCHEMA_VERSION]))}"
            )
        fields = msgspec.json.decode(line)
        for step in range(version, SCHEMA_VERSION):
            fields = STEPS[step](fields)
        return msgspec.convert({**fields, "schema_version": SCHEMA_VERSION}, Record)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise RecordError(f"not a record: {error}") from None


def _current(line: bytes) -> Record | None:
    """Return the record of a line of the current version, decoded in one pass; nearly all lines have that version."""
    if b'"schema_version"' not in line:
        return None
    try:
        record = repeated_parts.decode(line)
    except msgspec.ValidationError:
        return None
    return record if record.schema_version == SCHEMA_VERSION else None
