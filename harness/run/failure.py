"""The fields of a row whose case could not be made or run, for runs and benches alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from harness.errors import NotFiniteError, UnsuitedShapeError
from harness.records.outcomes import NOT_FINITE
from harness.workers.memory import is_refusal

if TYPE_CHECKING:
    from harness.errors import HarnessError


class Failure(msgspec.Struct, frozen=True):
    """The fields of a record that an error decides; those of the same name in `harness.records.schema.Record`."""

    status: str
    reason: str
    outcome: str = ""
    marks: tuple[str, ...] = ()


def failure_of(error: HarnessError) -> Failure:
    """Return the fields of a row that ends with an error.

    A shape that the model does not have is ``skipped``. Weights that are not finite make the outcome ``not finite``,
    although nothing was executed. Every other error leaves the outcome empty.
    """
    if isinstance(error, UnsuitedShapeError):
        return Failure("skipped", str(error))
    if isinstance(error, NotFiniteError):
        return Failure("failed", str(error), NOT_FINITE, ("weights that are not finite",))
    return Failure("out of memory" if is_refusal(error) else "failed", str(error))
