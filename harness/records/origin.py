"""Refuse rows that the executor they name cannot have made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.errors import OutputError
from harness.records import schema

if TYPE_CHECKING:
    from harness.records.schema import Record


def check_origin(record: Record) -> None:
    """Check the executor of a record against its machine and its policy.

    Raises
    ------
    OutputError: naming the row and what contradicts its executor.
    """
    if record.executor not in schema.EXECUTORS:
        raise OutputError(f"{record.title}: results take no rows of executor {record.executor!r}")
    if record.executor != "reference" and not record.environment.os.startswith(schema.DEVICE_SYSTEMS):
        raise OutputError(
            f"{record.title}: a row of executor {record.executor!r} cannot come from {record.environment.os}"
        )
    if record.executor != "reference" and record.policy.startswith(schema.PREDICTING):
        raise OutputError(
            f"{record.title}: policy {record.policy!r} predicts a device; no row of executor {record.executor!r} has it"
        )
